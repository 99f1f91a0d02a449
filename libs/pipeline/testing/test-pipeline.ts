import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { emptyParsedMessage, type MessageId } from "@millrace/mail";
import { type MailStore, openMailStore } from "@millrace/mailstore";
import { createLogger } from "@millrace/service";
import { accept as acceptInto } from "@millrace/test/message";
import { startRedis, type TestRedis } from "@millrace/test/redis";
import { until } from "@millrace/test/until";
import { openIntake } from "../open-intake.ts";
import { openPipeline, type Pipeline } from "../open-pipeline.ts";
import { type RunningWorker, startWorker } from "../start-worker.ts";
import { defineWorker, type WorkerDefinition } from "../worker.ts";

/** A pipeline of a test's own: a real Redis, a real mail store, and a store worker that skips the parser. */
export interface TestPipeline {
  redis: TestRedis;
  /** The data folder; the mail store is in its `mail`. */
  folder: string;
  pipeline: Pipeline;
  /** The mail store, opened for writing. */
  store: MailStore;
  /** Takes a message in, as the edge does. */
  accept(options?: {
    recipients?: string[];
    from?: string;
    subject?: string;
    body?: string;
  }): Promise<MessageId>;
  start(worker: WorkerDefinition): Promise<RunningWorker>;
  /** Carries the journal to the mail store. */
  archive(): Promise<void>;
  /** Waits until nothing is in flight, and the mail store knows of all that happened. */
  idle(): Promise<void>;
  stop(): Promise<void>;
}

const log = createLogger("test", "silent");

export async function startTestPipeline(): Promise<TestPipeline> {
  const redis = await startRedis();
  const folder = await mkdtemp(join(tmpdir(), "millrace-pipeline-"));
  const paths = { data: folder, redis: folder, mail: join(folder, "mail"), maildir: folder };
  const store = openMailStore({ directory: paths.mail });
  const pipeline = await openPipeline({ redisUrl: redis.url, paths }, log);
  const running: RunningWorker[] = [];
  const start = async (worker: WorkerDefinition) => {
    const started = await startWorker(worker, pipeline);
    running.push(started);
    return started;
  };
  await start(storing(pipeline, store));
  const intake = await openIntake(redis.url, log);

  const archive = async () => {
    for (;;) {
      const entries = await pipeline.journal.after(store.cursor(), 1_000);
      const last = entries.at(-1);
      if (!last) return;
      store.archive(entries);
      await pipeline.journal.trim(last.seq);
    }
  };
  return {
    ...{ redis, folder, pipeline, store, start, archive },
    accept: ({ subject = "Hello", body = "x", ...envelope } = {}) =>
      acceptInto(intake, `Subject: ${subject}\r\n\r\n${body}\r\n`, envelope),
    async idle() {
      await until(async () => (await pipeline.ledger.openCount()) === 0);
      await archive();
    },
    async stop() {
      await Promise.all(running.map((worker) => worker.stop()));
      await intake.close();
      await pipeline.close();
      store.close();
      await redis.stop();
      await rm(folder, { recursive: true });
    },
  };
}

function storing(pipeline: Pipeline, store: MailStore): WorkerDefinition {
  return defineWorker({
    name: "store",
    on: "message.received",
    async handle(event, ctx) {
      const raw = await pipeline.spool.read(event.message);
      const subject = /^Subject: (.*)$/m.exec(raw.toString())?.[1]?.trim() ?? "";
      await store.put([{ manifest: ctx.manifest, parsed: { ...emptyParsedMessage([]), subject }, raw }]);
      await pipeline.spool.free([event.message]);
      ctx.emit("message.stored", {});
    },
  });
}
