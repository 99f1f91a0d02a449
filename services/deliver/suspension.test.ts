import assert from "node:assert/strict";
import { after, test } from "node:test";
import { type RetryPolicy, routeSchema, type Suspended } from "@millrace/mail";
import type { WorkerContext } from "@millrace/pipeline";
import { until } from "@millrace/test/until";
import { taskSchema } from "./delivery-task.ts";
import { suspend } from "./suspend.ts";
import { TargetUnavailable } from "./target-gate.ts";
import { type Delivering, delivered, startDelivering } from "./testing/delivering.ts";
import type { DeliveryRequest, RecipientOutcome } from "./transport.ts";

const ends: (() => Promise<void>)[] = [];
after(async () => {
  for (const end of ends) await end();
});

const refused = ({ recipients }: DeliveryRequest): RecipientOutcome[] =>
  recipients.map((recipient) => ({
    recipient,
    result: "deferred",
    reply: "connect ECONNREFUSED 192.0.2.1:24",
    code: "ECONNREFUSED",
    sick: true,
  }));

/** One target that answers as told; what came of each attempt is counted. */
async function targetThat(
  answer: (request: DeliveryRequest) => RecipientOutcome[] | Promise<RecipientOutcome[]>,
  retry: RetryPolicy,
  timing: { failures: number; cooling: number; suspension: { first: number; longest: number } },
) {
  const route = { ...routeSchema.parse({ recipients: "*", to: { lmtp: "one:24" } }), retry };
  const target = { attempts: [] as number[], answer };
  const delivering: Delivering = await startDelivering({
    routes: [route],
    timing: { longestCooling: timing.cooling, ...timing },
    openTransport: () => ({
      async deliver(request) {
        target.attempts.push(request.attempt);
        return target.answer(request);
      },
      async close() {},
    }),
  });
  ends.push(() => delivering.stop());
  return { target, delivering };
}

test("messages for a target in trouble are put off without a try, and delivered once it works again", async () => {
  const { target, delivering } = await targetThat(
    refused,
    { firstDelay: 50, maxDelay: 50, jitter: 0, giveUpAfter: 600_000 },
    { failures: 3, cooling: 300, suspension: { first: 50, longest: 100 } },
  );
  const ids = await Promise.all(Array.from({ length: 30 }, (_, i) => delivering.accept([`${i}@x.test`])));
  await until(() => delivering.logged.includes("target in trouble, deliveries suspended"));
  const suspended = async () => {
    const entries = (await Promise.all(ids.map((id) => delivering.entriesOf(id)))).flat();
    return entries.filter(({ data }) => String(data.reply).startsWith("delivery temporarily suspended: "));
  };
  await until(async () => (await suspended()).length > 100);
  const [entry] = await suspended();
  assert.equal(entry?.event, "delivery.deferred");
  assert.equal(entry?.data.reply, "delivery temporarily suspended: connect ECONNREFUSED 192.0.2.1:24");
  assert.equal(entry?.data.code, "ECONNREFUSED");
  assert.ok(
    (await suspended()).some(({ data }) => data.attempt === 0),
    "some were never tried yet",
  );
  assert.ok(Number(entry?.data.nextAttemptAt) > 0);
  // Each of the thirty has come back several times since; only probes have really tried.
  const tried = target.attempts.length;
  assert.ok(tried < (await suspended()).length / 2, `${tried} attempts`);
  assert.ok(Math.max(...target.attempts) <= tried, "a suspension is no attempt");

  target.answer = ({ recipients }) => recipients.map(delivered);
  await Promise.all(ids.map((id) => delivering.ending(id)));
  const ended = (await Promise.all(ids.map((id) => delivering.entriesOf(id)))).map(
    (all) => all.at(-1)?.event,
  );
  assert.ok(
    ended.every((event) => event === "delivery.succeeded"),
    ended.join(),
  );
  assert.equal(
    delivering.logged.filter((line) => line.startsWith("target")).length,
    2,
    "opened and closed, once each",
  );
});

test("a schedule shorter than the trouble is not over before the target is tried again", async () => {
  const { target, delivering } = await targetThat(
    refused,
    { delays: [100], jitter: 0 },
    { failures: 1, cooling: 2_000, suspension: { first: 100, longest: 100 } },
  );
  await delivering.accept(["first@x.test"]);
  await until(() => delivering.logged.includes("target in trouble, deliveries suspended"));
  const tried = target.attempts.length;
  target.answer = ({ recipients }) => recipients.map(delivered);
  const id = await delivering.accept(["a@x.test"]);
  const entries = (await delivering.ending(id)).map(({ event, data }) => [event, data.attempt]);
  assert.deepEqual(entries, [
    ["delivery.deferred", 0],
    ["delivery.succeeded", 1],
  ]);
  assert.equal(tried, 1);
});

test("what is only ever suspended ends with its schedule's time and a grace, as a dead letter that names the trouble", async () => {
  const { target, delivering } = await targetThat(
    refused,
    { delays: [200, 400], jitter: 0 },
    { failures: 1, cooling: 100, suspension: { first: 100, longest: 100 } },
  );
  await delivering.accept(["first@x.test"]);
  await until(() => delivering.logged.includes("target in trouble, deliveries suspended"));
  // Nobody hears whether it works again: as many as may try hang.
  const released = Promise.withResolvers<void>();
  target.answer = async ({ recipients }) => {
    await released.promise;
    return recipients.map(delivered);
  };
  await until(async () => {
    if (target.attempts.length < 3) await delivering.accept(["probe@x.test"]);
    return target.attempts.length >= 3;
  });
  const [started, tried] = [Date.now(), target.attempts.length];
  const id = await delivering.accept(["a@x.test"]);
  const entries = await delivering.ending(id);
  assert.ok(Date.now() - started >= 5_590, "not before its time, and a grace");
  assert.equal(target.attempts.length, tried);
  released.resolve();
  const dead = entries.at(-1);
  assert.equal(dead?.event, "job.dead");
  assert.equal(dead?.data.attempts, 0);
  const failure = dead?.data.failure as { class: string; code: string; reply: string };
  assert.deepEqual([failure.class, failure.code], ["Suspended", "ECONNREFUSED"]);
  assert.match(failure.reply, /^delivery temporarily suspended: connect ECONNREFUSED/);
});

test("what is replayed has all its time again, and its grace", () => {
  const suspended = { askedAt: 1, times: 9, overtime: 3_600_000, outwaited: true };
  const task = taskSchema.parse({ target: "t", label: "t", recipients: ["a@x.test"], suspended });
  const unavailable = new TargetUnavailable({ reply: "connect ECONNREFUSED" }, 0, 0);
  const putOff = (at: number) => {
    const kept: unknown[] = [];
    const ctx = { attempt: 1, emit() {}, progress: (data: unknown) => void kept.push(data) };
    try {
      suspend(task, { delays: [1_000], jitter: 0 }, unavailable, at, ctx as unknown as WorkerContext);
    } catch (error) {
      return { back: (error as Suspended).retryAfter, kept: taskSchema.parse(kept[0]).suspended };
    }
  };
  assert.equal(putOff(1)?.back, undefined);
  const now = Date.now();
  const again = putOff(now);
  assert.ok(again?.back !== undefined && again.back > 500, `${again?.back}`);
  assert.deepEqual(again.kept, { askedAt: now, times: 1, overtime: 0, outwaited: false });
});

test("refusals of single messages are no trouble of the target's", async () => {
  const { target, delivering } = await targetThat(
    ({ recipients }) =>
      recipients.map((recipient) => ({ recipient, result: "failed", reply: "550 no", code: "550" })),
    { delays: [], jitter: 0 },
    { failures: 2, cooling: 60_000, suspension: { first: 100, longest: 100 } },
  );
  const ids = await Promise.all(Array.from({ length: 10 }, (_, i) => delivering.accept([`${i}@x.test`])));
  await Promise.all(ids.map((id) => delivering.ending(id)));
  assert.equal(target.attempts.length, 10);
  assert.deepEqual(delivering.logged, []);
});
