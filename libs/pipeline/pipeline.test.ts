import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import type { JournalEntry } from "@millrace/mail";
import { type MessageId, PermanentFailure, Suspended } from "@millrace/mail";
import { createLogger } from "@millrace/service";
import { accept as acceptInto } from "@millrace/test/message";
import { startRedis, type TestRedis } from "@millrace/test/redis";
import { until } from "@millrace/test/until";
import { z } from "zod";
import type { Intake } from "./intake.ts";
import { jobKey } from "./keys.ts";
import { openIntake } from "./open-intake.ts";
import { openPipeline, type Pipeline } from "./open-pipeline.ts";
import { reconcile } from "./reconciler.ts";
import { type RunningWorker, startWorker } from "./start-worker.ts";
import { jobIdOf } from "./unit.ts";
import { defineWorker, type Emits, Snooze, type WorkerOptions } from "./worker.ts";
import type { PipelineEvent } from "./worker-context.ts";

const log = createLogger("test", "silent");
const quick = { firstDelay: 10, maxDelay: 50, jitter: 0.5 };
let server: TestRedis;
let folder: string;
let intake: Intake;
let pipeline: Pipeline;
let running: RunningWorker[] = [];
let count = 0;

before(async () => {
  server = await startRedis();
  folder = await mkdtemp(join(tmpdir(), "millrace-pipeline-"));
  pipeline = await openPipeline(
    { redisUrl: server.url, paths: { data: folder, redis: folder, mail: `${folder}/mail`, maildir: folder } },
    log,
  );
  intake = await openIntake(server.url, log);
});
after(async () => {
  await intake.close();
  await pipeline.close();
  await server.stop();
  await rm(folder, { recursive: true });
});

/** Runs a body with workers of its own, and ends and forgets them afterwards. */
function scenario(name: string, body: () => Promise<void>): void {
  test(name, { timeout: 40_000 }, async () => {
    try {
      await body();
    } finally {
      await Promise.all(running.map((worker) => worker.stop()));
      running = [];
      await pipeline.redis.flushall();
    }
  });
}

async function start<const E extends string, const M extends Emits = Record<never, never>>(
  options: WorkerOptions<E, z.ZodUndefined, M>,
): Promise<RunningWorker> {
  const worker = await startWorker(defineWorker({ retry: quick, ...options }), pipeline, {
    finishWithin: 200,
    lockDuration: 2_000,
    stalledInterval: 500,
  });
  running.push(worker);
  return worker;
}

const uniqueName = () => `w${++count}`;

const accept = () => acceptInto(intake, "Received: x\r\nSubject: y\r\n\r\nz\r\n");

const journalOf = async (id: MessageId): Promise<JournalEntry[]> => pipeline.journal.of(id);
const unitNames = async (id: MessageId) => [...(await pipeline.ledger.unitsOf(id)).keys()];

scenario("an accepted message reaches its subscriber, with envelope and body", async () => {
  const seen: { event: PipelineEvent; envelope: unknown; body: string }[] = [];
  const name = uniqueName();
  await start({
    name,
    on: "message.received",
    async handle(event, ctx) {
      seen.push({ event, envelope: ctx.envelope, body: (await ctx.read()).toString() });
    },
  });
  const id = await accept();
  await until(async () => (await unitNames(id)).length === 0);
  assert.equal(seen.length, 1);
  assert.equal(seen[0]?.event.message, id);
  assert.match(seen[0]?.body ?? "", /Subject: y/);
  assert.deepEqual(
    (await journalOf(id)).map(({ event, worker }) => [event, worker]),
    [
      ["message.received", "edge"],
      ["job.done", name],
    ],
  );
});

scenario("without a subscriber nothing is taken in", async () => {
  await until(() => intake.unavailable()?.reason === "no worker has subscribed to message.received");
});

scenario("events wait for a worker that is down", async () => {
  const name = uniqueName();
  const first = await start({ name, on: "message.received", handle() {} });
  await first.stop();
  const ids = [await accept(), await accept()];
  const handled: string[] = [];
  await start({ name, on: "message.received", handle: (event) => void handled.push(event.message) });
  await until(() => handled.length === 2);
  assert.deepEqual(handled.sort(), ids.sort());
});

scenario("what fails is tried again, and the attempts are counted and journalled", async () => {
  const attempts: number[] = [];
  await start({
    name: uniqueName(),
    on: "message.received",
    handle(_event, ctx) {
      attempts.push(ctx.attempt);
      if (ctx.attempt < 3) throw Object.assign(new Error("not yet"), { code: "ENOTYET" });
    },
  });
  const id = await accept();
  await until(async () => (await unitNames(id)).length === 0);
  assert.deepEqual(attempts, [1, 2, 3]);
  const deferred = (await journalOf(id)).filter(({ event }) => event === "job.deferred");
  assert.deepEqual(
    deferred.map(({ attempt, data }) => [attempt, (data.failure as { code: string }).code]),
    [
      [1, "ENOTYET"],
      [2, "ENOTYET"],
    ],
  );
});

for (const [kind, error, attempts] of [
  ["a permanent failure", new PermanentFailure("never", { code: "NEVER" }), 1],
  ["the last attempt", new Error("still not"), 2],
] as const) {
  scenario(
    `${kind} makes a dead letter, kept with its reason; the body stays while it is only in the spool`,
    async () => {
      const name = uniqueName();
      await start({
        name,
        on: "message.received",
        retry: { ...quick, attempts: 2 },
        handle() {
          throw error;
        },
      });
      const id = await accept();
      await until(
        async () => (await pipeline.ledger.unitsOf(id)).get(`${name}/message.received`)?.dead === true,
      );
      const dead = (await journalOf(id)).find(({ event }) => event === "job.dead");
      assert.equal(dead?.data.attempts, attempts);
      assert.ok(dead);
      assert.equal((dead.data.failure as { message: string }).message, error.message);
      assert.ok(await pipeline.spool.has(id));
      assert.ok((await pipeline.ledger.open(0, 10)).some((each) => each.id === id));
      const counts = await pipeline.queues.counts(name);
      assert.deepEqual([counts.waiting, counts.delayed, counts.failed], [0, 0, 0]);
    },
  );
}

scenario("an event opens work for whoever subscribed to it, with what it carries", async () => {
  const got: unknown[] = [];
  const [first, second] = [uniqueName(), uniqueName()];
  await start({ name: second, on: "invoice.found", handle: (event) => void got.push(event.data) });
  await start({
    name: first,
    on: "message.received",
    emits: { "invoice.found": z.object({ number: z.number() }) },
    handle(_event, ctx) {
      for (const number of [1, 2]) ctx.emit("invoice.found", { number }, { key: String(number) });
    },
  });
  const id = await accept();
  await until(() => got.length === 2);
  assert.deepEqual(got.sort(), [{ number: 1 }, { number: 2 }]);
  await until(async () => (await unitNames(id)).length === 0);
});

scenario("what a handler emits is checked, and a failed run publishes nothing", async () => {
  const errors: string[] = [];
  const heard: unknown[] = [];
  await start({ name: uniqueName(), on: "note", handle: (event) => void heard.push(event) });
  await start({
    name: uniqueName(),
    on: "message.received",
    emits: { note: z.object({ n: z.number() }) },
    handle(_event, ctx) {
      const tries: [string, Record<string, unknown>][] = [
        ["undeclared", {}],
        ["note", { n: "x" }],
        ["note", { n: 1 }],
        ["note", { n: 2 }],
      ];
      for (const [event, data] of tries) {
        try {
          // As a caller without types would.
          (ctx.emit as (event: string, data: object) => void)(event, data);
        } catch (error) {
          errors.push((error as Error).message);
        }
      }
      throw new PermanentFailure("after all");
    },
  });
  const id = await accept();
  await until(async () => (await journalOf(id)).some(({ event }) => event === "job.dead"));
  assert.equal(errors.length, 3);
  assert.match(errors[0] ?? "", /neither built in nor declared/);
  assert.match(errors[2] ?? "", /more than once/);
  assert.deepEqual(heard, []);
});

scenario(
  "progress is kept when the run fails: its events are out, its data is what the next attempt sees",
  async () => {
    const data: unknown[] = [];
    const heard: unknown[] = [];
    await start({ name: uniqueName(), on: "note", handle: (event) => void heard.push(event.data) });
    await start({
      name: uniqueName(),
      on: "message.received",
      emits: { note: z.object({ n: z.number() }) },
      handle(event, ctx) {
        data.push(event.data);
        if (ctx.attempt === 2) return;
        ctx.emit("note", { n: 1 });
        ctx.progress({ left: 1 });
        ctx.emit("note", { n: 2 }, { key: "lost" });
        throw new Error("halfway");
      },
    });
    await accept();
    await until(() => data.length === 2 && heard.length === 1);
    assert.deepEqual(data, [{}, { left: 1 }]);
    assert.deepEqual(heard, [{ n: 1 }]);
  },
);

scenario("a snooze comes back and costs no attempt", async () => {
  const attempts: number[] = [];
  await start({
    name: uniqueName(),
    on: "message.received",
    handle(_event, ctx) {
      attempts.push(ctx.attempt);
      if (attempts.length < 3) throw new Snooze(20);
    },
  });
  await accept();
  await until(() => attempts.length === 3);
  assert.deepEqual(attempts, [1, 1, 1]);
});

scenario(
  "a suspension comes back when it says, is on record, costs no attempt, and ends when it says so",
  async () => {
    const attempts: number[] = [];
    await start({
      name: uniqueName(),
      on: "message.received",
      retry: { firstDelay: 10, maxDelay: 10, jitter: 0, attempts: 2 },
      handle(_event, ctx) {
        attempts.push(ctx.attempt);
        throw new Suspended("not now", attempts.length <= 4 ? { retryAfter: 100 } : {});
      },
    });
    const id = await accept();
    await until(async () => (await journalOf(id)).some(({ event }) => event === "job.dead"));
    assert.deepEqual(attempts, [1, 1, 1, 1, 1]);
    const [received, ...entries] = await journalOf(id);
    assert.equal(entries.length, attempts.length);
    const dead = entries.at(-1);
    assert.equal(dead?.data.attempts, 0);
    assert.ok(Number(dead?.at) - Number(received?.at) >= 400, "not before its time");
  },
);

scenario("a retry policy may follow from what the job carries, as the last run has left it", async () => {
  const name = uniqueName();
  await start({
    name,
    on: "message.received",
    retry: ({ tries }) => ({ delays: tries === undefined ? [] : [1, 1], jitter: 0 }),
    handle(event, ctx) {
      ctx.progress({ tries: Number(event.data.tries ?? 0) + 1 });
      throw new Error("no");
    },
  });
  const id = await accept();
  const death = async () => (await journalOf(id)).find(({ event }) => event === "job.dead");
  await until(async () => (await death()) !== undefined);
  const { tries, attempts } = (await death())?.data ?? {};
  assert.deepEqual([tries, attempts], [3, 3]);
});

scenario(
  "a last resort ends a job in place of the dead letters, and what it emits is recorded with the end",
  async () => {
    const heard: unknown[] = [];
    const offered: unknown[] = [];
    await start({ name: uniqueName(), on: "told", handle: (event) => void heard.push(event.data) });
    await start({
      name: uniqueName(),
      on: "message.received",
      retry: { delays: [1], jitter: 0 },
      emits: { told: z.object({ of: z.string() }) },
      handle(_event, ctx) {
        ctx.emit("told", { of: `attempt ${ctx.attempt}` }, { key: `${ctx.attempt}` });
        ctx.progress({ last: ctx.attempt });
        ctx.emit("told", { of: "nothing" }, { key: "lost" });
        throw new Error("no");
      },
      async lastResort(event, ctx, failure) {
        offered.push([event.data, ctx.attempt, failure.message]);
        ctx.emit("told", { of: "the end" }, { key: "end" });
        return true;
      },
    });
    const id = await accept();
    await until(async () => (await unitNames(id)).length === 0 && heard.length === 3);
    assert.deepEqual(offered, [[{ last: 2 }, 2, "no"]]);
    assert.deepEqual(heard.map((data) => (data as { of: string }).of).sort(), [
      "attempt 1",
      "attempt 2",
      "the end",
    ]);
    assert.ok(!(await journalOf(id)).some(({ event }) => event === "job.dead"));
  },
);

for (const [how, lastResort] of [
  ["declines", async () => false],
  ["fails itself", () => Promise.reject(new Error("nor this"))],
] as const) {
  scenario(`a last resort that ${how} leaves the job to the dead letters`, async () => {
    await start({
      name: uniqueName(),
      on: "message.received",
      handle() {
        throw new PermanentFailure("never");
      },
      lastResort,
    });
    const id = await accept();
    await until(async () => (await journalOf(id)).some(({ event }) => event === "job.dead"));
  });
}

scenario("a handler that takes too long hears of it, and its attempt has failed", async () => {
  const reasons: unknown[] = [];
  await start({
    name: uniqueName(),
    on: "message.received",
    timeout: 50,
    retry: { ...quick, attempts: 1 },
    async handle(_event, ctx) {
      await new Promise((resolve) => ctx.signal.addEventListener("abort", resolve));
      reasons.push(ctx.signal.reason);
    },
  });
  const id = await accept();
  await until(() => reasons.length === 1);
  assert.equal((reasons[0] as { code: string }).code, "TIMEOUT");
  assert.equal((await unitNames(id)).length <= 1, true);
});

scenario("a worker that stops hands back what it did not finish, at no attempt's cost", async () => {
  const name = uniqueName();
  let started = 0;
  const first = await start({
    name,
    on: "message.received",
    handle() {
      started++;
      return new Promise(() => {});
    },
  });
  const id = await accept();
  await until(() => started === 1);
  await first.stop();
  const attempts: number[] = [];
  await start({ name, on: "message.received", handle: (_event, ctx) => void attempts.push(ctx.attempt) });
  await until(async () => (await unitNames(id)).length === 0);
  assert.deepEqual(attempts, [1]);
});

scenario("a job of a unit that is settled does nothing", async () => {
  const name = uniqueName();
  let runs = 0;
  await start({ name, on: "message.received", handle: () => void runs++ });
  const id = await accept();
  await until(async () => (await unitNames(id)).length === 0);
  const ref = { message: id, unit: `${name}/message.received` };
  await pipeline.queues.wake(ref);
  await until(async () => {
    const { waiting, active } = await pipeline.queues.counts(name);
    return waiting + active === 0;
  });
  assert.equal(runs, 1);
});

scenario("a unit whose job got lost is given a new one", async () => {
  const name = uniqueName();
  await pipeline.subscriptions.register({ name, on: ["message.received"] });
  const id = await accept();
  const ref = { message: id, unit: `${name}/message.received` };
  await until(async () => (await pipeline.queues.withoutJob([ref])).length === 0);
  await pipeline.redis.del(jobKey(name, jobIdOf(ref)), jobKey(name, "wait"));
  assert.deepEqual(await pipeline.queues.withoutJob([ref]), [ref]);

  let runs = 0;
  await start({ name, on: "message.received", handle: () => void runs++ });
  await pipeline.redis.zadd("millrace:{0}:open", 1, id);
  await reconcile(pipeline, 0);
  await until(async () => runs === 1 && (await unitNames(id)).length === 0);
});

scenario("a message that is not stored and has no work left starts again", async () => {
  const name = uniqueName();
  let runs = 0;
  await start({ name, on: "message.received", handle: () => void runs++ });
  const id = await accept();
  await until(async () => runs === 1 && (await unitNames(id)).length === 0);
  await pipeline.redis.zadd("millrace:{0}:open", 1, id);
  await reconcile(pipeline, 0);
  await until(() => runs === 2);
});

scenario(
  "a message ends when its body is freed and no work is left: nothing of it stays in Redis but the journal",
  async () => {
    await start({
      name: uniqueName(),
      on: "message.received",
      async handle(event) {
        await pipeline.spool.free([event.message]);
      },
    });
    const id = await accept();
    await until(async () => (await pipeline.ledger.openCount()) === 0);
    await until(async () => (await pipeline.redis.keys(`*${id}*`)).length === 0);
  },
);

scenario("a dead letter from before its body was freed does not keep a message open", async () => {
  await start({
    name: uniqueName(),
    on: "message.received",
    handle() {
      throw new PermanentFailure("never");
    },
  });
  const id = await accept();
  await until(async () => [...(await pipeline.ledger.unitsOf(id)).values()].some(({ dead }) => dead));
  await pipeline.redis.zadd("millrace:{0}:open", 1, id);
  await reconcile(pipeline, 0);
  assert.equal(await pipeline.ledger.openCount(), 1, "its body is only in the spool");
  await pipeline.spool.free([id]);
  await reconcile(pipeline, 0);
  assert.equal(await pipeline.ledger.openCount(), 0);
});

scenario("what an interrupted run has kept is not done again", async () => {
  const name = uniqueName();
  const heard: unknown[] = [];
  let reached = false;
  await start({ name: uniqueName(), on: "note", handle: (event) => void heard.push(event.data) });
  const first = await start({
    name,
    on: "message.received",
    emits: { note: z.object({ n: z.number() }) },
    async handle(_event, ctx) {
      ctx.emit("note", { n: 1 });
      ctx.progress({ left: 1 });
      reached = true;
      await new Promise((_, reject) =>
        ctx.signal.addEventListener("abort", () => reject(new Error("broken off"))),
      );
    },
  });
  await accept();
  await until(() => reached);
  await first.stop();
  const seen: unknown[] = [];
  await start({
    name,
    on: "message.received",
    handle: (event, ctx) => void seen.push([event.data, ctx.attempt]),
  });
  await until(() => seen.length === 1 && heard.length === 1);
  assert.deepEqual(seen, [[{ left: 1 }, 1]]);
});

scenario("scripts that Redis has forgotten are sent again", async () => {
  let runs = 0;
  await start({ name: uniqueName(), on: "message.received", handle: () => void runs++ });
  await accept();
  await pipeline.redis.script("FLUSH");
  await accept();
  await until(() => runs === 2);
});
