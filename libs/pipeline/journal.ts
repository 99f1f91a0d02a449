import type { MessageId } from "@millrace/mail";
import { compareSeq, type JournalEntry, journalEntrySchema } from "@millrace/mail";
import { type Command, shards } from "@millrace/spool";
import type { Redis } from "ioredis";
import { ledgerKeys, shardKeys } from "./keys.ts";

/** A journal entry before it is written: the stream gives it its `seq`. */
export type NewEntry = Omit<JournalEntry, "seq" | "message">;

/** The one field of a stream entry, `j`: the entry as JSON. Few words are a good part of what a command costs. */
export function journalJson(id: MessageId, entry: NewEntry): string {
  return JSON.stringify({ message: id, ...entry });
}

/** The command that appends an entry, for whoever writes it in a step with something else. */
export function journalCommand(id: MessageId, entry: NewEntry): Command {
  return ["XADD", ledgerKeys(id).journal, "*", "j", journalJson(id, entry)];
}

/** Entries read at once. */
const page = 1_000;
/** Milliseconds after its last sign of life for which entries are kept for a follower. */
const followerGoneAfter = 10_000;

/** The newest part of the journal, in Redis; the older part is in the mail store. */
export interface JournalTail {
  /** Up to `count` entries after `seq`; waits up to `blockMs` for the first. */
  after(seq: string, count: number, blockMs?: number): Promise<JournalEntry[]>;
  /** All entries after `seq`, as far as there are any now. */
  since(seq: string): AsyncGenerator<JournalEntry>;
  /** Entries of one message that have not been archived. Reads the whole tail, which the archiver keeps short. */
  of(id: MessageId): Promise<JournalEntry[]>;
  /**
   * Removes entries up to and including `seq`, save those a follower has not read yet. Only for whoever has archived
   * them.
   */
  trim(seq: string): Promise<void>;
  /**
   * Keeps the entries after `seq` for a follower that is to miss none, until it has read on or has not said so for ten
   * seconds.
   */
  keepFor(follower: string, seq: string): Promise<void>;
  /** A follower reads no more. */
  release(follower: string): Promise<void>;
  /** Id of the newest entry there ever was, archived or not; "0-0" when there is none. */
  last(): Promise<string>;
  /** How many entries wait to be archived. */
  length(): Promise<number>;
}

export function journalTail(redis: Redis): JournalTail {
  // One shard today. With more, each has a cursor of its own; the archive's cursor gets a shard beside it then.
  const { journal: key, followers } = shardKeys(shards[0] as string);
  const after = async (seq: string, count: number, blockMs?: number): Promise<JournalEntry[]> => {
    const found = blockMs
      ? await redis.xread("COUNT", count, "BLOCK", blockMs, "STREAMS", key, seq)
      : await redis.xread("COUNT", count, "STREAMS", key, seq);
    const entries = (found as [string, [string, string[]][]][] | null)?.[0]?.[1] ?? [];
    return entries.map(([id, fields]) => decode(id, fields));
  };
  async function* since(seq: string): AsyncGenerator<JournalEntry> {
    for (let from = seq; ; ) {
      const entries = await after(from, page);
      yield* entries;
      const last = entries.at(-1);
      if (!last) return;
      from = last.seq;
    }
  }
  return {
    after,
    since,
    async of(id) {
      const mine: JournalEntry[] = [];
      for await (const entry of since("0-0")) if (entry.message === id) mine.push(entry);
      return mine;
    },
    async trim(archived) {
      let seq = archived;
      for (const sign of await redis.hvals(followers)) {
        const [at = "", read = ""] = sign.split(" ");
        if (Date.now() - Number(at) < followerGoneAfter && compareSeq(read, seq) < 0) seq = read;
      }
      const [ms, n] = seq.split("-").map(Number) as [number, number];
      await redis.xtrim(key, "MINID", `${ms}-${n + 1}`);
    },
    async keepFor(follower, seq) {
      await redis.multi().hset(followers, follower, `${Date.now()} ${seq}`).pexpire(followers, 60_000).exec();
    },
    async release(follower) {
      await redis.hdel(followers, follower);
    },
    async last() {
      if (!(await redis.exists(key))) return "0-0";
      const info = (await redis.xinfo("STREAM", key)) as (string | number)[];
      return String(info[info.indexOf("last-generated-id") + 1]);
    },
    length: () => redis.xlen(key),
  };
}

function decode(seq: string, fields: string[]): JournalEntry {
  return journalEntrySchema.parse({ ...JSON.parse(fields[1] ?? "{}"), seq });
}
