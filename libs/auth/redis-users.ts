import type { Redis } from "ioredis";
import { z } from "zod";
import { decoyOf, hashPassword, parseHash, verifyPassword } from "./password-hash.ts";
import { type Credentials, type Directory, reversePathSchema, type User, userNameSchema } from "./user.ts";

/** Hash of user name -> JSON of the record. */
const usersKey = "millrace:users";

const userRecordSchema = z.object({
  v: z.literal(1),
  name: userNameSchema,
  /** PHC string. */
  password: z.string(),
  reversePaths: z.array(reversePathSchema),
  /** Milliseconds since the epoch. */
  createdAt: z.number().int(),
  passwordAt: z.number().int(),
});
type UserRecord = z.output<typeof userRecordSchema>;

/** A user as somebody who keeps the books sees one: without the password. */
export type ListedUser = User & Pick<UserRecord, "createdAt" | "passwordAt">;

/** The users that all edges share. */
export interface Users extends Directory {
  /** @returns false when there is one of that name */
  add(user: User, password: string): Promise<boolean>;
  /** @returns false when there is none of that name */
  setPassword(name: string, password: string): Promise<boolean>;
  /** What they may give in MAIL from their next AUTH on; none: anything. @returns false when there is none of that name */
  setReversePaths(name: string, reversePaths: readonly string[]): Promise<boolean>;
  /** @returns false when there is none of that name */
  remove(name: string): Promise<boolean>;
  /** By name. */
  list(): Promise<ListedUser[]>;
}

/** Writes a record only in the place of the one that was read: a user removed meanwhile does not come back. */
const replaceScript =
  "if redis.call('hget', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end redis.call('hset', KEYS[1], ARGV[1], ARGV[3]) return 1";

/** argon2 runs on libuv's four threads, which DNS and files need as well. */
const atOnce = 3;

export function redisUsers(redis: Redis): Users {
  const decoy = decoyOf();
  const change = async (name: string, changes: Partial<UserRecord>): Promise<boolean> => {
    for (;;) {
      const json = await redis.hget(usersKey, name);
      if (json === null) return false;
      const record: UserRecord = { ...recordIn(json), ...changes };
      const replaced = await redis.eval(replaceScript, 1, usersKey, name, json, JSON.stringify(record));
      if (replaced === 1) return true;
    }
  };
  return {
    atOnce,

    async verify({ name, password }: Credentials) {
      const wanted = userNameSchema.safeParse(name);
      const json = wanted.success ? await redis.hget(usersKey, wanted.data) : null;
      const record = json === null ? undefined : recordIn(json);
      const right = await verifyPassword(record ? parseHash(record.password) : decoy, password);
      return record && right ? { name: record.name, reversePaths: record.reversePaths } : undefined;
    },

    async add({ name, reversePaths }, password) {
      const now = Date.now();
      const record: UserRecord = {
        ...{ v: 1, name, password: await hashPassword(password) },
        ...{ reversePaths: [...reversePaths], createdAt: now, passwordAt: now },
      };
      return (await redis.hsetnx(usersKey, name, JSON.stringify(record))) === 1;
    },

    async setPassword(name, password) {
      const hashed = await hashPassword(password);
      return change(name, { password: hashed, passwordAt: Date.now() });
    },

    setReversePaths: (name, reversePaths) => change(name, { reversePaths: [...reversePaths] }),

    async remove(name) {
      return (await redis.hdel(usersKey, name)) === 1;
    },

    async list() {
      const records = Object.values(await redis.hgetall(usersKey)).map(recordIn);
      return records
        .map(({ v: _, password: __, ...listed }) => listed)
        .sort((a, b) => (a.name < b.name ? -1 : 1));
    },

    async close() {},
  };
}

function recordIn(json: string): UserRecord {
  return userRecordSchema.parse(JSON.parse(json));
}
