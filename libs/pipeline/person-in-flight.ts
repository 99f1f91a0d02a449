import { type Manifest, type MessageId, messageIdSchema, type Person } from "@millrace/mail";
import type { Spool } from "@millrace/spool";
import type { Redis } from "ioredis";

/** A message in flight that is from or for a person. */
export interface ConcernedInFlight {
  id: MessageId;
  /** Undefined when only remains are here: of a transaction that never ended, or of a worker that was late. */
  manifest: Manifest | undefined;
  otherRecipients: number;
}

/** What Redis holds about one person. */
export interface PersonInFlight {
  /** Messages from or for the person. Not those a client is sending at this moment: they do not exist yet. */
  messages(): AsyncGenerator<ConcernedInFlight>;
  /** Keys the address stands in, those of the person's messages among them. A body's text is not looked into. */
  keys(): AsyncGenerator<string>;
}

/** Elements of a list, a sorted set or a stream that are read at once. */
const page = 1_000;
/** Keys of single messages: `millrace:{shard}:manifest:<id>`. */
const messageKey = /^millrace:\{[^}]*\}:(manifest|parsed|chunks|octets):(.{26})$/;

/**
 * @param abandonedAfter seconds after which a body nobody adds octets to is no transaction's any more
 */
export function personInFlight(
  { redis, spool }: { redis: Redis; spool: Spool },
  person: Person,
  abandonedAfter: number,
): PersonInFlight {
  const isConcerned = async (id: MessageId, manifest: Manifest | undefined): Promise<boolean> => {
    const envelope = manifest?.envelope ?? { from: "", recipients: [] };
    if (person.isConcerned(envelope, undefined)) return true;
    let parsed = await spool.parsed(id);
    if (!parsed) {
      const beginning = await spool.beginning(id);
      if (!beginning) return false;
      // Only here: an edge shares this library, and has no use for a parser.
      const { parseHeaderOnly } = await import("@millrace/mime");
      parsed = parseHeaderOnly(beginning, "not parsed yet");
    }
    return person.isConcerned(envelope, parsed);
  };

  const keyHolds = async (key: string): Promise<boolean> => {
    const [, part, id = ""] = messageKey.exec(key) ?? [];
    if (part === "octets") return false;
    // A parsed message may mention the address in its text, and a body, too: whose message it is decides.
    if (part) return isConcerned(id, await spool.manifest(id));
    for await (const text of textsOf(redis, key)) if (person.isMentioned(text)) return true;
    return person.isMentioned(key);
  };

  return {
    async *messages() {
      const seen = new Set<MessageId>();
      for await (const key of keysOf(redis)) {
        const id = messageIdSchema.safeParse(messageKey.exec(key)?.[2]).data;
        if (id === undefined || seen.has(id)) continue;
        seen.add(id);
        const manifest = await spool.manifest(id);
        if (!manifest) {
          const idle = await spool.draftIdle(id);
          if (idle !== undefined && idle <= abandonedAfter) continue;
        }
        if (!(await isConcerned(id, manifest))) continue;
        const recipients = manifest?.envelope.recipients ?? [];
        const others = recipients.filter((each) => each.toLowerCase() !== person.address);
        yield { id, manifest, otherRecipients: others.length };
      }
    },

    async *keys() {
      for await (const key of keysOf(redis)) if (await keyHolds(key)) yield key;
    },
  };
}

async function* keysOf(redis: Redis): AsyncGenerator<string> {
  for (let cursor = "0"; ; ) {
    const [next, keys] = await redis.scan(cursor, "MATCH", "millrace:*", "COUNT", 1_000);
    yield* keys;
    if (next === "0") return;
    cursor = next;
  }
}

/** Everything a key holds, as texts. */
async function* textsOf(redis: Redis, key: string): AsyncGenerator<string> {
  const type = await redis.type(key);
  if (type === "string") yield (await redis.get(key)) ?? "";
  else if (type === "hash") yield JSON.stringify(await redis.hgetall(key));
  else if (type === "set") yield (await redis.smembers(key)).join("\n");
  else if (type === "list" || type === "zset") {
    for (let from = 0; ; from += page) {
      const range = type === "list" ? redis.lrange(key, from, from + page - 1) : undefined;
      const texts = await (range ?? redis.zrange(key, `${from}`, `${from + page - 1}`));
      yield texts.join("\n");
      if (texts.length < page) return;
    }
  } else if (type === "stream") {
    for (let from = "-"; ; ) {
      const entries = await redis.xrange(key, from, "+", "COUNT", page);
      for (const [, fields] of entries) yield fields.join("\n");
      const last = entries.at(-1)?.[0];
      if (last === undefined || entries.length < page) return;
      from = `(${last}`;
    }
  }
}
