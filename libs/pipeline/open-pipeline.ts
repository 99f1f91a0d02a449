import type { Readable } from "node:stream";
import { type MessageId, type ParsedMessage, TemporaryFailure } from "@millrace/mail";
import type { MailStore } from "@millrace/mailstore";
import { type Config, type Logger, patientRedis } from "@millrace/service";
import { redisSpool, type Spool } from "@millrace/spool";
import type { Redis } from "ioredis";
import { type EffectLog, effectLog } from "./effects.ts";
import { type JournalTail, journalTail } from "./journal.ts";
import { type Ledger, redisLedger } from "./ledger.ts";
import { type LedgerQuarantine, ledgerQuarantine } from "./ledger-quarantine.ts";
import { type LedgerReplay, ledgerReplay } from "./ledger-replay.ts";
import { openQueues, type Queues } from "./queues.ts";
import { openSubscriptions, type Subscriptions } from "./subscriptions.ts";

/** Everything a worker process, or a command, holds of the pipeline. */
export interface Pipeline {
  redis: Redis;
  spool: Spool;
  ledger: Ledger;
  /** The ways back into the ledger for jobs that have ended. */
  replays: LedgerReplay;
  /** The ways out of the quarantine. */
  quarantine: LedgerQuarantine;
  queues: Queues;
  subscriptions: Subscriptions;
  effects: EffectLog;
  journal: JournalTail;
  /** The mail store, opened for reading. */
  mailstore: MailStore;
  log: Logger;
  close(): Promise<void>;
}

/** Opens the pipeline for workers: with a client that waits for Redis as long as it takes. */
export async function openPipeline(
  config: Pick<Config, "redisUrl" | "paths">,
  log: Logger,
): Promise<Pipeline> {
  const redis = patientRedis(config.redisUrl);
  const ledger = redisLedger(redis);
  const queues = openQueues(redis);
  const subscriptions = await openSubscriptions(redis);
  // Only here: an edge shares this library, and has no use for a database.
  const { openMailStore } = await import("@millrace/mailstore");
  const mailstore = openMailStore({ directory: config.paths.mail, readOnly: true });
  return {
    redis,
    spool: redisSpool(redis),
    ledger,
    replays: ledgerReplay(redis),
    quarantine: ledgerQuarantine(redis),
    queues,
    subscriptions,
    effects: effectLog(redis),
    journal: journalTail(redis),
    mailstore,
    log,
    async close() {
      subscriptions.close();
      await queues.close();
      mailstore.close();
      redis.disconnect();
    },
  };
}

/** Where a message's octets are: in the spool until it is stored, in the mail store from then on. */
export function bodyOf(pipeline: Pick<Pipeline, "spool" | "mailstore">, id: MessageId) {
  const { spool, mailstore } = pipeline;
  return {
    open(): Readable {
      return mailstore.has(id) ? mailstore.raw(id) : spool.open(id);
    },
    read(): Promise<Buffer> {
      return mailstore.has(id) ? mailstore.read(id) : spool.read(id);
    },
    async parsed(): Promise<ParsedMessage> {
      const parsed = await this.parsedIfAny();
      if (!parsed) throw new TemporaryFailure(`message ${id} is not parsed yet`, { code: "NOT_PARSED" });
      return parsed;
    },
    async parsedIfAny(): Promise<ParsedMessage | undefined> {
      // The spool lets go only after the store has it, so asking the store last misses neither.
      return mailstore.parsed(id) ?? (await spool.parsed(id)) ?? mailstore.parsed(id);
    },
  };
}
