import { Readable } from "node:stream";
import {
  type Manifest,
  type MessageId,
  manifestSchema,
  type ParsedMessage,
  parsedMessageSchema,
  TemporaryFailure,
} from "@millrace/mail";
import { type Redis, ReplyError } from "ioredis";
import { shardOf, shards, spooledKey, spoolKeys } from "./keys.ts";

/** A Redis command, its name first, that runs in the same atomic step as a commit. */
export type Command = readonly [name: string, ...args: (string | number)[]];

/** A message that is not there: never committed, freed after it was stored, or expired. */
export class NotSpooled extends TemporaryFailure {
  override name = "NotSpooled";

  constructor(id: MessageId) {
    super(`message ${id} is not in the spool`, { code: "NOT_SPOOLED" });
  }
}

/** Redis has no memory left (`maxmemory`). It has said so, and nothing of the step was done. */
export class SpoolFull extends TemporaryFailure {
  override name = "SpoolFull";

  constructor(reason: string, options: { cause?: unknown } = {}) {
    super(reason, { code: "SPOOL_FULL", ...options });
  }
}

/** What one body being written is to its writer. Nothing of it exists for anybody else before `commit`. */
export interface Draft {
  readonly id: MessageId;
  /**
   * Adds octets; resolves when Redis has taken what was due, so awaiting it is the backpressure.
   * @throws SpoolFull when Redis has no room
   */
  write(octets: Uint8Array): Promise<void>;
  /**
   * Makes the message exist: one step on Redis verifies count and octets of the chunks, keeps them for good,
   * writes the manifest and runs `alongside`. Returns once Redis has answered, which under
   * `appendfsync always` is after the fsync. Committing again under the same id is answered like the first time.
   * @throws SpoolFull when Redis has no room, and whatever the client throws; after a time-out the outcome is unknown
   */
  commit(manifest: Manifest, alongside: readonly Command[]): Promise<void>;
  /** Forgets what was written. Never throws: what cannot be removed now expires by itself. */
  abort(): Promise<void>;
}

export interface Spool {
  draft(id: MessageId): Draft;
  manifest(id: MessageId): Promise<Manifest | undefined>;
  /** Forgets what a writer who did not live to commit has left of a draft. A message that exists stays untouched. */
  discard(id: MessageId): Promise<void>;
  /** Whether the body is here. */
  has(id: MessageId): Promise<boolean>;
  /** The whole body. @throws NotSpooled */
  read(id: MessageId): Promise<Buffer>;
  /** The body as a stream that holds one chunk at a time. Errors with NotSpooled. */
  open(id: MessageId): Readable;
  /** @param parsed the parsed message, or its JSON */
  putParsed(id: MessageId, parsed: ParsedMessage | string): Promise<void>;
  /** Undefined when it was not parsed yet, or was freed. */
  parsed(id: MessageId): Promise<ParsedMessage | undefined>;
  /** Lets body and parsed message go. Only for whoever has made both durable elsewhere. Idempotent. */
  free(ids: readonly MessageId[]): Promise<void>;
  /** Messages whose body is here, and the age of the oldest in milliseconds. */
  backlog(): Promise<{ messages: number; oldest: number | undefined }>;
  /** The first octets of a body, up to one chunk; also of one that is still being written. Undefined when there are none. */
  beginning(id: MessageId): Promise<Buffer | undefined>;
  /** Seconds since the last octets of a body that is being written; undefined when it is none such. */
  draftIdle(id: MessageId): Promise<number | undefined>;
  /** Ids of up to `limit` messages whose body is here, newest first, from `offset` on. */
  list(limit: number, offset?: number): Promise<MessageId[]>;
}

/** Octets of one chunk. A little under 64 KiB: with its header it fills an allocator's size class and no more. */
const chunkSize = 65_000;
/** Seconds an uncommitted chunk lives: longer than any transaction may last, so that none expires under it. */
const draftTtl = 2 * 86_400;

/** KEYS chunks octets; ARGV chunk ttl. Answers the number of chunks that are there now. */
const appendScript = `
local count = redis.call('RPUSH', KEYS[1], ARGV[1])
redis.call('INCRBY', KEYS[2], #ARGV[1])
redis.call('EXPIRE', KEYS[1], ARGV[2])
redis.call('EXPIRE', KEYS[2], ARGV[2])
return count`;

/**
 * KEYS chunks octets manifest spooled; ARGV count octets manifest-json receivedAt id last-chunk, then for each
 * command alongside its number of words and the words. The last chunk, often the only one, comes with the commit.
 * Answers 1, or an error that names what does not match.
 */
const commitScript = `
if redis.call('EXISTS', KEYS[3]) == 1 then return 1 end
local count = redis.call('LLEN', KEYS[1]) + 1
local octets = tonumber(redis.call('GET', KEYS[2]) or '0') + #ARGV[6]
if count ~= tonumber(ARGV[1]) or octets ~= tonumber(ARGV[2]) then
  return redis.error_reply('SPOOL expected ' .. ARGV[1] .. ' chunks of ' .. ARGV[2] .. ' octets, found '
    .. count .. ' of ' .. octets)
end
redis.call('RPUSH', KEYS[1], ARGV[6])
redis.call('PERSIST', KEYS[1])
redis.call('DEL', KEYS[2])
redis.call('SET', KEYS[3], ARGV[3])
redis.call('ZADD', KEYS[4], ARGV[4], ARGV[5])
local at = 7
while at <= #ARGV do
  local words = tonumber(ARGV[at])
  redis.call(unpack(ARGV, at + 1, at + words))
  at = at + words + 1
end
return 1`;

/** KEYS chunks octets manifest */
const discardScript = `
if redis.call('EXISTS', KEYS[3]) == 1 then return 0 end
return redis.call('UNLINK', KEYS[1], KEYS[2])`;

interface SpoolCommands {
  spoolDiscard(...args: string[]): Promise<number>;
  spoolAppend(...args: (string | number | Buffer)[]): Promise<number>;
  spoolCommit(...args: (string | number | Buffer)[]): Promise<number>;
}

/** The spool in Redis. The client decides about patience: the edge's fails fast, a worker's waits. */
export function redisSpool(redis: Redis): Spool {
  redis.defineCommand("spoolAppend", { numberOfKeys: 2, lua: appendScript });
  redis.defineCommand("spoolCommit", { numberOfKeys: 4, lua: commitScript });
  redis.defineCommand("spoolDiscard", { numberOfKeys: 3, lua: discardScript });
  return {
    async discard(id) {
      const { chunks, octets, manifest } = spoolKeys(id);
      await (redis as Redis & SpoolCommands).spoolDiscard(chunks, octets, manifest);
    },

    draft: (id) => new RedisDraft(redis as Redis & SpoolCommands, id),

    async manifest(id) {
      const json = await redis.get(spoolKeys(id).manifest);
      return json === null ? undefined : manifestSchema.parse(JSON.parse(json));
    },

    has: async (id) => (await redis.exists(spoolKeys(id).chunks)) === 1,

    async read(id) {
      const chunks = await redis.lrangeBuffer(spoolKeys(id).chunks, 0, -1);
      if (chunks.length === 0) throw new NotSpooled(id);
      return chunks.length === 1 ? (chunks[0] as Buffer) : Buffer.concat(chunks);
    },

    open: (id) => Readable.from(chunksOf(redis, id), { objectMode: false, highWaterMark: chunkSize }),

    async putParsed(id, parsed) {
      await redis.set(spoolKeys(id).parsed, typeof parsed === "string" ? parsed : JSON.stringify(parsed));
    },

    async parsed(id) {
      const json = await redis.get(spoolKeys(id).parsed);
      return json === null ? undefined : parsedMessageSchema.parse(JSON.parse(json));
    },

    async free(ids) {
      // Two commands for all of them, which is a good part of what letting go of a small body costs.
      for (const [shard, group] of Map.groupBy(ids, shardOf)) {
        const keys = group.map((id) => spoolKeys(id));
        await Promise.all([
          redis.unlink(keys.flatMap(({ chunks, parsed }) => [chunks, parsed])),
          redis.zrem(spooledKey(shard), group),
        ]);
      }
    },

    async backlog() {
      let messages = 0;
      let oldest: number | undefined;
      for (const shard of shards) {
        const key = spooledKey(shard);
        messages += await redis.zcard(key);
        const first = await redis.zrange(key, "0", "0", "WITHSCORES");
        if (first[1]) oldest = Math.max(oldest ?? 0, Date.now() - Number(first[1]));
      }
      return { messages, oldest };
    },

    beginning: async (id) => (await redis.lindexBuffer(spoolKeys(id).chunks, 0)) ?? undefined,

    async draftIdle(id) {
      const left = await redis.ttl(spoolKeys(id).chunks);
      return left < 0 ? undefined : draftTtl - left;
    },

    async list(limit, offset = 0) {
      const ids = await Promise.all(
        shards.map((shard) => redis.zrevrange(spooledKey(shard), 0, offset + limit - 1)),
      );
      return ids
        .flat()
        .sort()
        .reverse()
        .slice(offset, offset + limit);
    },
  };
}

async function* chunksOf(redis: Redis, id: MessageId): AsyncGenerator<Buffer> {
  const { chunks } = spoolKeys(id);
  for (let index = 0; ; index++) {
    const chunk = await redis.lindexBuffer(chunks, index);
    if (chunk === null) {
      if (index === 0) throw new NotSpooled(id);
      // Freed while it was read: the list is gone as a whole, so a missing chunk must not pass for the end.
      if (!(await redis.exists(chunks))) throw new NotSpooled(id);
      return;
    }
    yield chunk;
  }
}

class RedisDraft implements Draft {
  readonly id: MessageId;
  private readonly redis: Redis & SpoolCommands;
  private readonly keys: ReturnType<typeof spoolKeys>;
  private pending: Uint8Array[] = [];
  private pendingOctets = 0;
  private sentChunks = 0;
  private octets = 0;

  constructor(redis: Redis & SpoolCommands, id: MessageId) {
    this.redis = redis;
    this.id = id;
    this.keys = spoolKeys(id);
  }

  async write(octets: Uint8Array): Promise<void> {
    this.octets += octets.length;
    let rest = octets;
    // A chunk is sent only when more follows: the last one travels with the commit.
    while (this.pendingOctets + rest.length > chunkSize) {
      const part = rest.subarray(0, chunkSize - this.pendingOctets);
      this.pending.push(part);
      rest = rest.subarray(part.length);
      await this.send(Buffer.concat(this.pending));
    }
    if (rest.length > 0) {
      this.pending.push(rest);
      this.pendingOctets += rest.length;
    }
  }

  private async send(chunk: Buffer): Promise<void> {
    this.pending = [];
    this.pendingOctets = 0;
    this.sentChunks++;
    const count = await this.redis
      .spoolAppend(this.keys.chunks, this.keys.octets, chunk, draftTtl)
      .catch(throwAsFull);
    if (count !== this.sentChunks) {
      throw new TemporaryFailure(`spool of ${this.id}: sent ${this.sentChunks} chunks, Redis has ${count}`);
    }
  }

  async commit(manifest: Manifest, alongside: readonly Command[]): Promise<void> {
    await this.redis
      .spoolCommit(
        this.keys.chunks,
        this.keys.octets,
        this.keys.manifest,
        this.keys.spooled,
        this.sentChunks + 1,
        this.octets,
        JSON.stringify(manifest),
        manifest.receivedAt,
        this.id,
        Buffer.concat(this.pending),
        ...alongside.flatMap((command) => [command.length, ...command]),
      )
      .catch(throwAsFull);
  }

  async abort(): Promise<void> {
    this.pending = [];
    if (this.sentChunks === 0) return;
    await this.redis.unlink(this.keys.chunks, this.keys.octets).catch(() => {});
  }
}

/** Redis refuses a script at its first write when it is out of memory: all of it is done, or nothing. */
function throwAsFull(error: unknown): never {
  if (error instanceof ReplyError && /^OOM /.test((error as Error).message)) {
    throw new SpoolFull("Redis has reached its maxmemory", { cause: error });
  }
  throw error;
}
