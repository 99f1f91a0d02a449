import { createHash } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Manifest, newMessageId } from "@millrace/mail";
import { createLogger } from "@millrace/service";
import { Queue, Worker } from "bullmq";
import { Redis } from "ioredis";
import { queuePrefix } from "../keys.ts";
import { openPipeline } from "../open-pipeline.ts";
import { startWorker, workerOptions } from "../start-worker.ts";
import { type Unit, unitName } from "../unit.ts";
import { defineWorker } from "../worker.ts";

// A process of the benchmark: how long a worker that does nothing takes for so many jobs, all of them there before it
// starts. `bare` is BullMQ by itself with the options our workers have; `millrace` is a worker made by defineWorker.
const [kind = "", redisUrl = "", jobs = "", concurrency = ""] = process.argv.slice(2);
const [count, atOnce] = [Number(jobs), Number(concurrency)];
const seconds = kind === "bare" ? await bare() : await millrace();
process.stdout.write(`${seconds}\n`);
process.exit(0);

async function bare(): Promise<number> {
  const connection = new Redis({ path: redisUrl.replace("unix://", ""), maxRetriesPerRequest: null });
  const name = `bare-${Date.now()}`;
  const prefix = queuePrefix(name);
  const queue = new Queue(name, { connection, prefix, streams: { events: { maxLen: 1 } } });
  const ids = Array.from({ length: count }, () => newMessageId());
  const options = { attempts: 1, removeOnComplete: true, removeOnFail: false };
  await inBatches(ids, async (id) => {
    await queue.add(
      name,
      { v: 1, message: id, unit: `${name}/message.stored` },
      { ...options, jobId: `${id}/x` },
    );
  });
  let done = 0;
  const finished = Promise.withResolvers<number>();
  const started = performance.now();
  new Worker(
    name,
    async () => {
      if (++done === count) finished.resolve((performance.now() - started) / 1_000);
    },
    { connection, prefix, concurrency: atOnce, ...workerOptions({}) },
  );
  return finished.promise;
}

async function millrace(): Promise<number> {
  const folder = await mkdtemp(join(tmpdir(), "millrace-noop-"));
  const paths = { data: folder, redis: folder, mail: join(folder, "mail"), maildir: folder };
  const pipeline = await openPipeline({ redisUrl, paths }, createLogger("bench", "silent"));
  let done = 0;
  const finished = Promise.withResolvers<void>();
  const worker = defineWorker({
    name: `noop-${Date.now()}`,
    on: "message.stored",
    concurrency: atOnce,
    handle() {
      if (++done === count) finished.resolve();
    },
  });
  await pipeline.subscriptions.register(worker);
  const unit: Unit = { v: 1, event: "message.stored", at: Date.now(), data: {}, attempts: 0 };
  const name = unitName(worker.name, unit.event);
  const entry = { at: Date.now(), event: "job.replayed", worker: "bench", data: {} };
  await inBatches(
    Array.from({ length: count }, () => manifestOf()),
    async (manifest) => {
      await pipeline.replays.open(manifest, new Map([[name, { unit, entry }]]));
      await pipeline.queues.wake({ message: manifest.id, unit: name }, { unit, manifest });
    },
  );
  const started = performance.now();
  await startWorker(worker, pipeline);
  await finished.promise;
  // Until the last of them is on record, not only handled.
  while ((await pipeline.ledger.openCount()) > 0) await new Promise((resolve) => setTimeout(resolve, 5));
  const took = (performance.now() - started) / 1_000;
  await rm(folder, { recursive: true });
  return took;
}

async function inBatches<T>(items: readonly T[], step: (item: T) => Promise<void>): Promise<void> {
  for (let at = 0; at < items.length; at += 500) await Promise.all(items.slice(at, at + 500).map(step));
}

function manifestOf(): Manifest {
  const id = newMessageId();
  return {
    ...{ v: 1, id, receivedAt: Date.now(), size: 1_024, receivedFieldSize: 100 },
    sha256: createHash("sha256").update(id).digest("hex"),
    envelope: {
      ...{
        from: "a@example.net",
        recipients: ["b@example.com"],
        smtputf8: false,
        body: null,
        helo: "client",
      },
      ...{ protocol: "ESMTP", tls: null, user: null, client: { ip: "127.0.0.1", port: 1 } },
    },
  };
}
