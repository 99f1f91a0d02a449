import assert from "node:assert/strict";
import { after, before, type TestContext, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import type { Manifest, MessageId } from "@millrace/mail";
import { failFastRedis } from "@millrace/service";
import { until } from "@millrace/test/until";
import { Worker } from "bullmq";
import { z } from "zod";
import { defineEvent } from "./event-definition.ts";
import { groupedKey, jobKey, queueKeys, queuePrefix } from "./keys.ts";
import { openQueues } from "./queues.ts";
import { type RunningWorker, startWorker } from "./start-worker.ts";
import { groupSweep } from "./sweep-groups.ts";
import { startTestPipeline, type TestPipeline } from "./testing/test-pipeline.ts";
import { jobIdOf, type Unit, unitName } from "./unit.ts";
import { defineWorker, type WorkerDefinition } from "./worker.ts";

let system: TestPipeline;
before(async () => {
  system = await startTestPipeline();
});
after(() => system.stop());

const event = "test.asked";
const timing = { finishWithin: 500, lockDuration: 4_000, stalledInterval: 500 };

/** Opens a unit for each of so many stored messages, all in one turn, so that they share jobs. */
async function open(worker: string, count: number): Promise<MessageId[]> {
  const ids = await stored(count);
  await openFor(worker, ids);
  return ids;
}

async function stored(count: number): Promise<MessageId[]> {
  const ids: MessageId[] = [];
  for (let i = 0; i < count; i++) ids.push(await system.accept());
  await system.idle();
  return ids;
}

/** What `wake` wants for a unit of each of these messages. */
function wakings(worker: string, ids: readonly MessageId[]) {
  const unit: Unit = { v: 1, event, at: Date.now(), data: {}, attempts: 0 };
  return ids.map((message) => ({
    ref: { message, unit: unitName(worker, event) },
    fresh: { unit, manifest: system.store.manifest(message) as Manifest },
  }));
}

async function openFor(worker: string, ids: readonly MessageId[]): Promise<void> {
  const { replays, queues } = system.pipeline;
  const units = wakings(worker, ids);
  for (const { ref, fresh } of units) {
    const { unit, manifest } = fresh;
    const entry = { at: unit.at, event: "job.replayed", worker: "test", data: {} };
    await replays.open(manifest, new Map([[ref.unit, { unit, entry }]]));
  }
  await Promise.all(units.map(({ ref, fresh }) => queues.wake(ref, fresh)));
}

function worker(name: string, more: Pick<WorkerDefinition, "handle"> & { concurrency?: number }) {
  return defineWorker({ name, on: event, retry: ["50ms"], ...more });
}

/** Nothing is left of a worker's work: no unit, no job, no entry of a group. */
async function untilNothingIsLeft(name: string): Promise<void> {
  const { ledger, queues, redis } = system.pipeline;
  await until(async () => (await ledger.openCount()) === 0);
  await until(async () => {
    const { waiting, active, delayed, failed } = await queues.counts(name);
    return waiting + active + delayed + failed === 0;
  });
  await until(async () => (await redis.exists(groupedKey(name))) === 0);
}

async function during<T>(running: Promise<RunningWorker>, look: () => Promise<T>): Promise<T> {
  const started = await running;
  try {
    return await look();
  } finally {
    await started.stop();
  }
}

/** Queues on a client that gives up after 200 ms, and twenty units that are told to them while Redis stands still. */
async function wokenWhileFrozen(t: TestContext, name: string, usedBefore: boolean) {
  const slow = failFastRedis(system.redis.url, { commandTimeout: 200 });
  await until(() => slow.status === "ready");
  const queues = openQueues(slow);
  t.after(async () => {
    await queues.obliterate(name);
    await queues.close();
    slow.disconnect();
  });
  if (usedBefore) await queues.counts(name);
  const units = wakings(name, await stored(20));
  system.redis.freeze();
  setTimeout(() => system.redis.thaw(), 1_000);
  await Promise.all(units.map(({ ref, fresh }) => queues.wake(ref, fresh)));
  assert.deepEqual(await queues.withoutJob(units.map(({ ref }) => ref)), []);
  assert.equal((await queues.counts(name)).waiting, 20);
  return system.pipeline.redis.lrange(queueKeys(name).wait, 0, -1);
}

test("jobs whose adding was not answered in time are added once", async (t) => {
  const jobs = await wokenWhileFrozen(t, "unanswered", true);
  assert.deepEqual(
    jobs.map((id) => id.split(".")[0]),
    ["4", "16"],
  );
});

test("a queue that is first used while Redis stands still works when it goes on", async (t) => {
  assert.equal((await wokenWhileFrozen(t, "first-used", false)).length, 20);
});

test("units that are opened together share jobs, and each is handled once", async () => {
  const { pipeline } = system;
  const runs: MessageId[] = [];
  const ids = await open("together", 40);
  const jobs = await pipeline.redis.lrange(queueKeys("together").wait, 0, -1);
  assert.deepEqual(
    jobs.map((id) => id.split(".")[0]),
    ["8", "16", "16"],
  );
  assert.equal((await pipeline.queues.counts("together")).waiting, 40);
  const refs = ids.map((message) => ({ message, unit: unitName("together", event) }));
  assert.deepEqual(await pipeline.queues.withoutJob(refs), []);

  const one = worker("together", { handle: ({ message }) => void runs.push(message) });
  await during(startWorker(one, pipeline, timing), () => untilNothingIsLeft("together"));
  assert.deepEqual(runs.toSorted(), ids.toSorted());
});

test("one that fails is tried again by itself, and its group ends without it", async () => {
  const attempts = new Map<MessageId, number[]>();
  const ids = await open("failing", 5);
  const one = worker("failing", {
    handle({ message }, { attempt }) {
      attempts.set(message, [...(attempts.get(message) ?? []), attempt]);
      if (message === ids[1] && attempt === 1) throw new Error("not yet");
    },
  });
  await during(startWorker(one, system.pipeline, timing), () => untilNothingIsLeft("failing"));
  assert.deepEqual(
    ids.map((id) => attempts.get(id)),
    [[1], [1, 2], [1], [1], [1]],
  );
});

test("one that waits for its next attempt is not run again by the same event", async () => {
  const answered = defineEvent("test.answered", z.object({}));
  const attempts: [MessageId, number][] = [];
  const asker = defineWorker({
    name: "asker",
    on: event,
    emits: [answered],
    handle: (_event, ctx) => ctx.emit(answered.name, {}),
  });
  const answering = defineWorker({
    name: "answering",
    on: answered,
    retry: ["2s"],
    handle({ message }, { attempt }) {
      attempts.push([message, attempt]);
      if (message === ids[0] && attempt === 1) throw new Error("not yet");
    },
  });
  let ids: MessageId[] = [];
  await during(startWorker(answering, system.pipeline, timing), () =>
    during(startWorker(asker, system.pipeline, timing), async () => {
      ids = await open("asker", 2);
      await until(async () => (await system.pipeline.queues.counts("answering")).delayed === 1);
      await openFor("asker", ids);
      await untilNothingIsLeft("answering");
    }),
  );
  const of = (id: MessageId | undefined) =>
    attempts.flatMap(([message, attempt]) => (message === id ? [attempt] : []));
  assert.deepEqual(
    [of(ids[0]), of(ids[1])],
    [
      [1, 2],
      [1, 1],
    ],
  );
});

test("one that takes its time holds up no other, here or in another process", async () => {
  const { promise: held, resolve: letGo } = Promise.withResolvers<void>();
  const runs: string[] = [];
  const ids = await open("slow", 12);
  const slow = worker("slow", {
    concurrency: 1,
    async handle({ message }) {
      runs.push(`slow ${message}`);
      await held;
    },
  });
  const quick = worker("slow", {
    concurrency: 1,
    handle: ({ message }) => void runs.push(`quick ${message}`),
  });
  await during(startWorker(slow, system.pipeline, timing), async () => {
    await until(() => runs.length === 1);
    // All twelve are in one job, which this process has in hand.
    await during(startWorker(quick, system.pipeline, timing), () => until(() => runs.length === 12));
    letGo();
    await untilNothingIsLeft("slow");
  });
  assert.deepEqual(runs.map((run) => run.split(" ")[1]).toSorted(), ids.toSorted());
});

test("a worker handles no more at once than it has hands", async () => {
  let now = 0;
  let most = 0;
  await open("handy", 20);
  const one = worker("handy", {
    concurrency: 3,
    async handle() {
      most = Math.max(most, ++now);
      await sleep(20);
      now--;
    },
  });
  await during(startWorker(one, system.pipeline, timing), () => untilNothingIsLeft("handy"));
  assert.equal(most, 3);
});

test("a worker that stops hands back what it has not begun, and what does not end", async () => {
  const { promise: held, resolve: letGo } = Promise.withResolvers<void>();
  const ids = await open("stopping", 6);
  const begun: MessageId[] = [];
  const first = worker("stopping", {
    concurrency: 2,
    async handle({ message }) {
      begun.push(message);
      await held;
    },
  });
  await during(startWorker(first, system.pipeline, { ...timing, finishWithin: 50 }), () =>
    until(() => begun.length === 2),
  );
  const runs: MessageId[] = [];
  const next = worker("stopping", { handle: ({ message }) => void runs.push(message) });
  await during(startWorker(next, system.pipeline, timing), () => untilNothingIsLeft("stopping"));
  letGo();
  assert.deepEqual(runs.toSorted(), ids.toSorted());
});

test("of a message that is removed nothing is left in the group's job, and the others go on", async () => {
  const { pipeline } = system;
  const ids = await open("removed", 3);
  const [gone, ...others] = ids as [MessageId, ...MessageId[]];
  const ref = { message: gone, unit: unitName("removed", event) };
  await pipeline.ledger.settle(ref, { outcome: "done", journal: [], opens: new Map() });
  assert.deepEqual(await pipeline.queues.remove([ref]), { removed: 1, running: 0 });
  const [job = ""] = await pipeline.redis.lrange(queueKeys("removed").wait, 0, -1);
  const stored = JSON.stringify(await pipeline.redis.hgetall(jobKey("removed", job)));
  assert.deepEqual([stored.includes(gone), stored.includes(others[0] as string)], [false, true]);
  assert.equal(await pipeline.redis.hexists(groupedKey("removed"), jobIdOf(ref)), 0);

  const runs: MessageId[] = [];
  const one = worker("removed", { handle: ({ message }) => void runs.push(message) });
  await during(startWorker(one, pipeline, timing), () => untilNothingIsLeft("removed"));
  assert.deepEqual(runs.toSorted(), others.toSorted());
});

test("units whose group has no job are found, and so are those whose process has died", async () => {
  const { pipeline } = system;
  const ids = await open("lost", 4);
  const refs = ids.map((message) => ({ message, unit: unitName("lost", event) }));
  const [job = ""] = await pipeline.redis.lrange(queueKeys("lost").wait, 0, -1);

  // A process takes the job and dies: its lock runs out.
  const dying = new Worker("lost", null, {
    connection: pipeline.redis,
    prefix: queuePrefix("lost"),
    lockDuration: 500,
  });
  assert.ok(await dying.getNextJob("dying"));
  assert.deepEqual(await pipeline.redis.lrange(queueKeys("lost").active, 0, -1), [job]);
  await dying.close(true);
  const runs: MessageId[] = [];
  const one = worker("lost", { handle: ({ message }) => void runs.push(message) });
  await during(startWorker(one, pipeline, timing), () => untilNothingIsLeft("lost"));
  assert.deepEqual(runs.toSorted(), ids.toSorted());

  assert.deepEqual(await pipeline.queues.withoutJob(refs), refs);
});

test("what an ended group has left behind is swept away at the second look, and nothing of a living one", async () => {
  const { pipeline } = system;
  const sweep = groupSweep(pipeline);
  await pipeline.subscriptions.register({ name: "swept", on: [event] });
  await open("swept", 2);
  const left = groupedKey("swept");
  await pipeline.redis.hset(left, "gone/swept/x", "2.00000000000000000000000000");
  await sweep();
  assert.equal(await pipeline.redis.hlen(left), 3);
  await sweep();
  assert.deepEqual(
    [await pipeline.redis.hlen(left), await pipeline.redis.hexists(left, "gone/swept/x")],
    [2, 0],
  );
});
