import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { newMessageId } from "@millrace/mail";
import { createLogger, patientRedis } from "@millrace/service";
import { type DeadLine, startDeadLine } from "@millrace/test/dead-line";
import { startRedis, type TestRedis } from "@millrace/test/redis";
import { until } from "@millrace/test/until";
import { type Processor, Queue, Worker } from "bullmq";
import type { Redis } from "ioredis";
import { watchedWorker } from "./idle-watch.ts";
import { queuePrefix } from "./keys.ts";
import { openPipeline, type Pipeline } from "./open-pipeline.ts";
import { startWorker } from "./start-worker.ts";
import type { JobData } from "./unit.ts";
import { defineWorker } from "./worker.ts";

const idleAfter = 2_000;
let server: TestRedis;
let direct: Redis;
let line: DeadLine;
let queue: Queue<JobData>;
let lines: { msg: string }[];
let open: (() => Promise<unknown>)[];

beforeEach(async () => {
  server = await startRedis();
  direct = patientRedis(server.url);
  line = await startDeadLine(server.url);
  queue = new Queue<JobData>("w", { connection: direct, prefix: queuePrefix("w") });
  lines = [];
  open = [];
});
afterEach(async () => {
  for (const close of open.reverse()) await close();
  await queue.close();
  direct.disconnect();
  await line.close();
  await server.stop();
});

const log = createLogger("test", "info", { write: (text: string) => void lines.push(JSON.parse(text)) });
const restarts = () => lines.filter(({ msg }) => msg === "worker takes no jobs, started anew").length;

let count = 0;
async function add(delay = 0): Promise<void> {
  const data: JobData = { v: 1, message: newMessageId(), unit: "w/e" };
  await queue.add("w", data, { delay, jobId: `job-${++count}` });
}

/** A worker process of its own: a client, and a watched worker that counts what it is given. */
function run(options: {
  url?: string;
  concurrency?: number;
  process?: () => Promise<void>;
  create?: (processor: Processor<JobData>, redis: Redis) => Worker<JobData>;
}): { taken: number } {
  const { url = server.url, concurrency = 4, process = async () => {}, create = bullWorker } = options;
  const redis = patientRedis(url);
  const seen = { taken: 0 };
  const watched = watchedWorker(
    { name: "w", concurrency },
    { redis, log },
    async () => {
      seen.taken++;
      await process();
    },
    (processor) => create(processor, redis),
    idleAfter,
  );
  open.push(async () => {
    await Promise.race([watched.close(true), sleep(3_000, undefined, { ref: false })]);
    redis.disconnect();
  });
  return seen;
}

function bullWorker(processor: Processor<JobData>, redis: Redis, options = {}): Worker<JobData> {
  const worker = new Worker<JobData>("w", processor, {
    ...{ connection: redis, prefix: queuePrefix("w"), concurrency: 4, drainDelay: 1 },
    ...options,
  });
  worker.on("error", () => {});
  return worker;
}

test("a worker whose connections have died without a word takes the next job within its limit", {
  timeout: 60_000,
}, async () => {
  const folder = await mkdtemp(join(tmpdir(), "millrace-idle-"));
  const paths = { data: folder, redis: folder, mail: join(folder, "mail"), maildir: folder };
  const pipeline: Pipeline = await openPipeline({ redisUrl: line.url, paths }, log);
  const worker = defineWorker({ name: "w", on: "message.received", handle: () => {} });
  const running = await startWorker(worker, pipeline, { idleAfter, finishWithin: 500 });
  open.push(async () => {
    await running.stop();
    await pipeline.close();
    await rm(folder, { recursive: true });
  });
  await add();
  await until(async () => (await queue.getWaitingCount()) + (await queue.getActiveCount()) === 0);
  line.die();
  await add();
  await until(async () => (await queue.getWaitingCount()) + (await queue.getActiveCount()) === 0);
  assert.ok(lines.some(({ msg }) => msg === "connection to Redis silent, made anew"));
});

test("a worker that takes nothing though it could is replaced, and what it had in hand goes on", {
  timeout: 60_000,
}, async () => {
  let made = 0;
  let finish: () => void = () => {};
  const held = new Promise<void>((resolve) => {
    finish = resolve;
  });
  let finished = 0;
  const seen = run({
    process: async () => {
      if (seen.taken === 1) await held;
      finished++;
    },
    create(processor, redis) {
      const worker = bullWorker(processor, redis);
      // The first one falls silent with its first job in hand.
      if (++made === 1)
        worker.once("active", () => void worker.pause(true).then(() => (worker.isPaused = () => false)));
      return worker;
    },
  });
  await add();
  await until(() => seen.taken === 1);
  await add();
  await until(() => seen.taken === 2);
  assert.equal(restarts(), 1);
  assert.equal(made, 2);
  finish();
  await until(async () => finished === 2 && (await queue.getActiveCount()) === 0);
  assert.equal(seen.taken, 2);
});

test("no reason: a paused queue, jobs that are due later, a busy worker, another that takes them all", {
  timeout: 60_000,
}, async () => {
  const rest = 2 * idleAfter;
  let busy = true;
  const seen = run({
    concurrency: 1,
    create: (processor, redis) => bullWorker(processor, redis, { concurrency: 1 }),
    process: async () => {
      while (busy) await sleep(20);
    },
  });
  await queue.pause();
  await add(600_000);
  await add();
  await sleep(rest);
  assert.equal(seen.taken, 0);
  assert.equal(restarts(), 0, "paused, and due later");

  await queue.resume();
  await add();
  await until(() => seen.taken === 1);
  await sleep(rest);
  assert.equal(restarts(), 0, "busy");
  busy = false;
  await until(() => seen.taken === 2);

  // One that is stuck, and a colleague who takes whatever comes.
  const stuck = run({ create: (processor, redis) => bullWorker(processor, redis, { autorun: false }) });
  for (const deadline = Date.now() + rest; Date.now() < deadline; await sleep(20)) await add();
  assert.equal(stuck.taken, 0);
  assert.equal(restarts(), 0, "another takes them");
});

test("no reason: a Redis that is frozen, and an event loop that was held up", {
  timeout: 60_000,
}, async () => {
  const seen = run({});
  await add();
  await until(() => seen.taken === 1);
  server.freeze();
  await sleep(2 * idleAfter);
  server.thaw();
  await add();
  await until(() => seen.taken === 2);
  // All at once: jobs come in, and this process does nothing for long.
  const adding = add();
  const until_ = performance.now() + 2 * idleAfter;
  while (performance.now() < until_);
  await adding;
  await until(() => seen.taken === 3);
  await sleep(idleAfter);
  assert.deepEqual(
    lines.map(({ msg }) => msg),
    [],
  );
});
