import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Envelope, emptyParsedMessage, type JournalEntry } from "@millrace/mail";
import { defineWorker } from "@millrace/pipeline";
import {
  openIntake,
  openPipeline,
  type Pipeline,
  startWorker,
  submitMessage,
} from "@millrace/pipeline/runtime";
import { createLogger } from "@millrace/service";
import { accept } from "@millrace/test/message";
import { startRedis } from "@millrace/test/redis";
import { until } from "@millrace/test/until";
import { deliverWorker } from "../deliver-worker.ts";
import type { RecipientOutcome } from "../transport.ts";

type Options = Parameters<typeof deliverWorker>[0];

/** A pipeline with nothing but a deliver worker behind the intake. */
export interface Delivering {
  pipeline: Pipeline;
  /** What the deliver worker has logged, newest last. */
  logged: string[];
  /** Takes a message in. @param raw the whole message; the body is "x" without it */
  accept(recipients: string[], envelope?: Partial<Envelope>, raw?: string): Promise<string>;
  /** Recipients that have been delivered to, so far. */
  deliveredTo(): Promise<string[]>;
  /** Deliveries and dead letters of a message, so far. */
  entriesOf(id: string): Promise<JournalEntry[]>;
  /** The same when nothing is left to do for it. */
  ending(id: string): Promise<JournalEntry[]>;
  stop(): Promise<void>;
}

/** @param keepBodies the messages stay readable; without it a stand-in for the store lets them go at once */
export async function startDelivering(
  options: Pick<Options, "routes" | "openTransport"> & Partial<Options> & { keepBodies?: boolean },
): Promise<Delivering> {
  const redis = await startRedis();
  const folder = await mkdtemp(join(tmpdir(), "millrace-deliver-"));
  const silent = createLogger("test", "silent");
  const paths = { data: folder, redis: folder, mail: `${folder}/mail`, maildir: folder };
  const pipeline = await openPipeline({ redisUrl: redis.url, paths }, silent);
  // Stands for parse and store: what counts here comes after them.
  const stored = defineWorker({
    name: "stored",
    on: "message.received",
    concurrency: 100,
    async handle(event, ctx) {
      if (options.keepBodies) await pipeline.spool.putParsed(event.message, emptyParsedMessage([]));
      else await pipeline.spool.free([event.message]);
      ctx.emit("message.stored", {});
    },
  });
  const logged: string[] = [];
  const log = Object.assign(Object.create(silent) as typeof silent, {
    warn: (...words: unknown[]) => void logged.push(String(words.at(-1))),
    info: (...words: unknown[]) => void logged.push(String(words.at(-1))),
  });
  const { worker, close } = deliverWorker({
    concurrency: 20,
    targetConcurrency: 2,
    hostname: "mx.test",
    submit: (submission) => submitMessage(pipeline, submission),
    log,
    ...options,
  });
  const running = await Promise.all([startWorker(stored, pipeline), startWorker(worker, pipeline)]);
  const intake = await openIntake(redis.url, silent);

  const entriesOf = async (id: string) =>
    (await pipeline.journal.of(id)).filter(({ event }) => /^(delivery|job\.dead)/.test(event));
  return {
    pipeline,
    logged,
    entriesOf,

    async deliveredTo() {
      const entries = await pipeline.journal.after("0-0", 1_000_000);
      return entries
        .filter(({ event }) => event === "delivery.succeeded")
        .flatMap(({ data }) => data.recipients as string[]);
    },

    accept: (recipients, envelope = {}, raw = "x") => accept(intake, raw, { recipients, ...envelope }),

    async ending(id) {
      await until(async () => {
        if ((await pipeline.journal.of(id)).length < 2) return false;
        return [...(await pipeline.ledger.unitsOf(id)).values()].every(({ dead }) => dead);
      });
      return entriesOf(id);
    },

    async stop() {
      await Promise.all(running.map((each) => each.stop()));
      await close();
      await intake.close();
      await pipeline.close();
      await redis.stop();
      await rm(folder, { recursive: true });
    },
  };
}

export const delivered = (recipient: string): RecipientOutcome => ({
  recipient,
  result: "delivered",
  reply: "250 2.0.0 ok",
});

/** An entry in short: its event, its target, its recipients. */
export const words = (entries: JournalEntry[]) =>
  entries.map(({ event, data }) => `${event} ${data.label} ${data.recipients}`);
