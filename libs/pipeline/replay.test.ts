import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";
import { type MessageId, PermanentFailure, routeSchema } from "@millrace/mail";
import { until } from "@millrace/test/until";
import { ledgerReplay, replayRuns } from "./ledger-replay.ts";
import { type ReplayOptions, replay } from "./replay.ts";
import { deadLetterItems, storedItems } from "./replay-items.ts";
import { startTestPipeline, type TestPipeline } from "./testing/test-pipeline.ts";
import { defineWorker, type WorkerDefinition } from "./worker.ts";

let system: TestPipeline;
let broken = true;
const seen: { worker: string; message: MessageId; attempt: number; data: Record<string, unknown> }[] = [];
const routes = [routeSchema.parse({ recipients: "*", to: { lmtp: "one:24" } })];

/** Notes whom it was called for, and fails while things are broken. */
function noting(name: string, on: WorkerDefinition["on"]): WorkerDefinition {
  return defineWorker({
    name,
    on,
    handle(event, ctx) {
      seen.push({ worker: name, message: event.message, attempt: ctx.attempt, data: event.data });
      if (name === "fragile" && broken) throw new PermanentFailure("out of luck", { code: "LUCK" });
    },
  });
}
const callsOf = (worker: string) => seen.filter((call) => call.worker === worker);

before(async () => {
  system = await startTestPipeline();
  await system.start(noting("fragile", ["message.stored"]));
});
after(() => system.stop());
afterEach(() => {
  broken = true;
  seen.length = 0;
});

const source = () => {
  const { mailstore, spool, ledger } = system.pipeline;
  return { mailstore, spool, ledger, routing: { routes, relay: undefined } };
};
const options = (more: Partial<ReplayOptions> = {}): ReplayOptions => ({
  ...{ run: "r1", by: "ann@host", ordinal: 0, signal: new AbortController().signal, ...more },
});
const dead = (query = {}, after?: string) =>
  deadLetterItems(source(), query, system.store.countDeadLetters({}).newest, after);

async function acceptMany(count: number, subject: string): Promise<MessageId[]> {
  const ids = await Promise.all(Array.from({ length: count }, () => system.accept({ subject })));
  await system.idle();
  return ids.sort();
}

test("dead letters of a filter run again with a fresh count of attempts, all others stay", async () => {
  const mine = await acceptMany(5, "mine");
  await acceptMany(3, "others");
  assert.equal(system.store.countDeadLetters({ error: "LUCK" }).total, 8);
  seen.length = 0;
  broken = false;
  const done = await replay(system.pipeline, dead({ subject: "mine" }), options());
  assert.deepEqual(done, { seen: 5, replayed: 5, skipped: 0, finished: true });
  await system.idle();
  assert.deepEqual(
    callsOf("fragile")
      .map(({ message }) => message)
      .sort(),
    mine,
  );
  assert.ok(seen.every(({ attempt }) => attempt === 1));
  assert.equal(system.store.countDeadLetters({ subject: "mine" }).total, 0);
  assert.equal(system.store.countDeadLetters({ subject: "others" }).total, 3);
  const journal = system.store.journal(mine[0] as string);
  const { data } = journal.find(({ event }) => event === "job.replayed") ?? {};
  assert.deepEqual(data, { job: "fragile/message.stored", worker: "fragile", replay: "r1", by: "ann@host" });
});

test("what dies again is a dead letter again, and not for the same run once more", async () => {
  const [id] = await acceptMany(1, "stubborn");
  const items = dead({ subject: "stubborn" });
  assert.equal((await replay(system.pipeline, items, options({ run: "r2" }))).replayed, 1);
  await system.idle();
  const letters = system.store.deadLetters({ messages: [id as string] }, { limit: 9 });
  assert.equal(letters.length, 1);
  assert.equal(callsOf("fragile").length, 2);
});

test("a replay that was stopped goes on behind its last message, whatever has become of that", async () => {
  const ids = await acceptMany(20, "stopped");
  seen.length = 0;
  broken = false;
  const runs = replayRuns(system.pipeline.redis);
  await runs.begin("r3", "record");
  const stop = new AbortController();
  const first = await replay(system.pipeline, dead({ subject: "stopped" }), {
    ...options({ run: "r3", rate: 400, signal: stop.signal }),
    progress: ({ seen: count }) => count >= 5 && stop.abort(),
  });
  assert.equal(first.finished, false);
  assert.ok(first.seen >= 5 && first.seen < 20, `${first.seen}`);
  // Nothing of it is in the mail store yet: only the run's own position tells what is done.
  await until(async () => (await system.pipeline.ledger.openCount()) === 0);
  const left = await runs.find("r3");
  assert.deepEqual([left?.ordinal, left?.record], [first.seen, "record"]);
  const rest = dead({ subject: "stopped" }, left?.position);
  const second = await replay(system.pipeline, rest, options({ run: "r3", ordinal: first.seen }));
  assert.deepEqual([second.seen, second.finished], [20 - first.seen, true]);
  await system.idle();
  assert.deepEqual(
    callsOf("fragile")
      .map(({ message }) => message)
      .sort(),
    ids,
  );
  await runs.end("r3");
  assert.equal(await runs.find("r3"), undefined);
});

test("a step that reached Redis twice opens its work once", async () => {
  const [id] = await acceptMany(1, "twice");
  const manifest = system.store.manifest(id as string);
  assert.ok(manifest);
  const unit = { v: 1 as const, event: "message.stored", at: 1, data: {}, attempts: 0 };
  const entry = { at: 1, event: "job.replayed", worker: "replay", data: { job: "x", worker: "nobody" } };
  const units = new Map([["nobody/message.stored", { unit, entry }]]);
  const at = { run: "r4", ordinal: 1, position: "1" };
  const replays = ledgerReplay(system.pipeline.redis);
  assert.deepEqual(await replays.open(manifest, units, at), ["nobody/message.stored"]);
  await system.pipeline.redis.hdel(`millrace:{0}:work:${id}`, "nobody/message.stored");
  assert.deepEqual(await replays.open(manifest, units, at), []);
  await system.pipeline.ledger.close(id as string);
});

test("a new worker sees each old message once, with the event as it was", async () => {
  broken = false;
  const ids = await acceptMany(12, "history");
  await system.start(noting("newcomer", ["message.received", "message.stored"]));
  const worker = { worker: "newcomer", events: ["message.received", "message.stored"] };
  const items = storedItems(source(), { subject: "history" }, worker, false, undefined);
  const done = await replay(system.pipeline, items, options({ run: "r5" }));
  assert.deepEqual([done.seen, done.replayed], [12, 12]);
  await system.idle();
  const calls = callsOf("newcomer").map(({ message }) => message);
  assert.deepEqual([...new Set(calls)].sort(), ids);
  assert.equal(calls.length, 24);
});

test("a replay at a rate keeps to it", async () => {
  broken = false;
  await acceptMany(300, "paced");
  const worker = { worker: "fragile", events: ["message.stored"] };
  const items = storedItems(source(), { subject: "paced" }, worker, false, undefined);
  const started = performance.now();
  const done = await replay(system.pipeline, items, options({ run: "r6", rate: 200 }));
  const took = performance.now() - started;
  assert.equal(done.seen, 300);
  // It may fall behind on a busy machine; it must never run ahead.
  assert.ok(took > 1_450, `300 at 200/s took ${took} ms`);
  await system.idle();
});

test("a delivery made already is left out unless forced, one under way always", async () => {
  broken = false;
  const ids = await acceptMany(3, "delivery");
  const [delivered, failed, underWay] = ids as [string, string, string];
  const journal = async (message: string, event: string, data: object) => {
    const entry = { message, at: 1, event, worker: "deliver", data };
    await system.pipeline.redis.xadd("millrace:{0}:journal", "*", "j", JSON.stringify(entry));
  };
  const { targetsFor } = await import("@millrace/mail");
  const target = targetsFor(routes, ["c@d.test"]).targets[0];
  assert.ok(target);
  const about = {
    target: target.id,
    label: target.label,
    recipients: ["c@d.test"],
    attempt: 1,
    ms: 1,
    reply: "",
  };
  await journal(delivered, "delivery.succeeded", about);
  await journal(failed, "delivery.failed", about);
  const unit = { v: 1 as const, event: "message.stored", at: 1, data: {}, attempts: 0 };
  await system.pipeline.ledger.reopen(underWay, new Map([["deliver/message.stored", unit]]));
  await system.archive();
  const deliver = { worker: "deliver", events: ["message.stored", "delivery.requested"] };
  const chosen = async (force: boolean) => {
    const messages: string[] = [];
    for await (const { manifest, units } of storedItems(
      source(),
      { subject: "delivery" },
      deliver,
      force,
      undefined,
    )) {
      assert.ok([...units.values()].every(({ unit }) => unit.data.target === target.id));
      if (units.size > 0) messages.push(manifest.id);
    }
    return messages;
  };
  assert.deepEqual(await chosen(false), [failed]);
  // Those that came at the same time are in the order they were stored in.
  assert.deepEqual((await chosen(true)).sort(), [delivered, failed].sort());
  await system.pipeline.redis.hdel(`millrace:{0}:work:${underWay}`, "deliver/message.stored");
  await system.pipeline.ledger.close(underWay);
});

test("a dead delivery whose target is gone from the routes goes where they lead today", async () => {
  broken = false;
  const [id] = (await acceptMany(1, "moved")) as [string];
  const data = { target: "webhook-old", label: "webhook:old", recipients: ["c@d.test"], failed: [] };
  const work = { event: "message.stored", at: 1, data };
  const failure = { class: "TemporaryFailure", message: "gone", permanent: false };
  const entry = {
    message: id,
    at: 1,
    event: "job.dead",
    worker: "deliver",
    data: { ...data, job: "deliver/message.stored", failure, work },
  };
  await system.pipeline.redis.xadd("millrace:{0}:journal", "*", "j", JSON.stringify(entry));
  await system.archive();
  const items: string[] = [];
  for await (const { units } of dead({ messages: [id] })) {
    for (const { unit, job } of units.values()) items.push(`${job} ${unit.data.label}`);
  }
  assert.deepEqual(items, ["deliver/message.stored lmtp:one:24"]);
});

test("a discarded dead letter is gone from the list and kept in the journal; one that runs again cannot be", async () => {
  const [id] = (await acceptMany(1, "discard")) as [string];
  const ref = { message: id, unit: "fragile/message.stored" };
  const entry = {
    at: 1,
    event: "job.discarded",
    worker: "discard",
    data: { job: ref.unit, worker: "fragile" },
  };
  const unit = { v: 1 as const, event: "message.stored", at: 1, data: {}, attempts: 0 };
  await system.pipeline.ledger.reopen(id, new Map([[ref.unit, unit]]));
  assert.equal(await system.pipeline.replays.discard(ref, entry), false);
  await system.pipeline.redis.hdel(`millrace:{0}:work:${id}`, ref.unit);
  await system.pipeline.ledger.close(id);
  assert.equal(await system.pipeline.replays.discard(ref, entry), true);
  await system.archive();
  assert.equal(system.store.countDeadLetters({ messages: [id] }).total, 0);
  assert.ok(system.store.journal(id).some(({ event }) => event === "job.discarded"));
});
