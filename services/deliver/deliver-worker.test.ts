import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { routeSchema, type Target } from "@millrace/mail";
import { until } from "@millrace/test/until";
import { type Delivering, delivered, startDelivering, words } from "./testing/delivering.ts";
import type { DeliveryRequest, RecipientOutcome, Transport } from "./transport.ts";

/** What each target does at each attempt: the recipient's answer, by its local part. */
type Script = (request: DeliveryRequest) => RecipientOutcome[] | Promise<RecipientOutcome[]>;

const scripts = new Map<string, Script>();
const attempts: { label: string; recipients: string[]; attempt: number }[] = [];
const retry = { firstDelay: 10, maxDelay: 20, jitter: 0.5, attempts: 4 };
const routes = [
  { ...routeSchema.parse({ recipients: "*@one.test", to: { lmtp: "one:24" } }), retry },
  {
    ...routeSchema.parse({ recipients: "*@two.test", to: [{ lmtp: "two:24" }, { lmtp: "archive:24" }] }),
    retry,
  },
  {
    ...routeSchema.parse({ recipients: "*@list.test", to: { lmtp: "list:24" } }),
    retry: { delays: [1], jitter: 0 },
  },
];
let delivering: Delivering;

function scripted(target: Target): Transport {
  return {
    async deliver(request) {
      attempts.push({ label: target.label, recipients: request.recipients, attempt: request.attempt });
      const script = scripts.get(target.label);
      return script ? script(request) : request.recipients.map((recipient) => delivered(recipient));
    },
    async close() {},
  };
}

before(async () => {
  delivering = await startDelivering({
    routes,
    openTransport: scripted,
    timing: { suspension: { first: 20, longest: 50 }, cooling: 50, longestCooling: 100 },
  });
});
after(() => delivering.stop());
const accept = (recipients: string[]) => delivering.accept(recipients);
const ending = (id: string) => delivering.ending(id);

test("one target is delivered to at once, without a job of its own", async () => {
  const id = await accept(["a@one.test", "b@one.test"]);
  assert.deepEqual(words(await ending(id)), ["delivery.succeeded lmtp:one:24 a@one.test,b@one.test"]);
});

test("several targets have a job each, and every one is told of", async () => {
  const id = await accept(["a@one.test", "b@two.test"]);
  assert.deepEqual(words(await ending(id)).sort(), [
    "delivery.requested lmtp:archive:24 b@two.test",
    "delivery.requested lmtp:one:24 a@one.test",
    "delivery.requested lmtp:two:24 b@two.test",
    "delivery.succeeded lmtp:archive:24 b@two.test",
    "delivery.succeeded lmtp:one:24 a@one.test",
    "delivery.succeeded lmtp:two:24 b@two.test",
  ]);
});

test("who was delivered to is not delivered to again; who was deferred is; who failed is a dead letter in the end", async () => {
  scripts.set("lmtp:one:24", ({ recipients, attempt }) =>
    recipients.map((recipient) => {
      if (recipient.startsWith("never"))
        return { recipient, result: "failed", reply: "550 5.1.1 unknown", code: "550" };
      if (recipient.startsWith("later") && attempt < 3)
        return { recipient, result: "deferred", reply: "450 4.2.1 busy", code: "450" };
      return delivered(recipient);
    }),
  );
  attempts.length = 0;
  const id = await accept(["now@one.test", "later@one.test", "never@one.test"]);
  const entries = await ending(id);
  scripts.clear();
  assert.deepEqual(
    attempts.map(({ recipients }) => recipients),
    [["now@one.test", "later@one.test", "never@one.test"], ["later@one.test"], ["later@one.test"]],
  );
  assert.deepEqual(words(entries), [
    "delivery.succeeded lmtp:one:24 now@one.test",
    "delivery.deferred lmtp:one:24 later@one.test",
    "delivery.failed lmtp:one:24 never@one.test",
    "delivery.deferred lmtp:one:24 later@one.test",
    "delivery.succeeded lmtp:one:24 later@one.test",
    "job.dead lmtp:one:24 never@one.test",
  ]);
  assert.equal((entries.at(-1)?.data.failure as { reply: string } | undefined)?.reply, "550 5.1.1 unknown");
});

test("a target that never answers delays no other", async () => {
  const hanging: (() => void)[] = [];
  scripts.set("lmtp:one:24", async ({ recipients }) => {
    await new Promise<void>((resolve) => hanging.push(resolve));
    return recipients.map(delivered);
  });
  for (let i = 0; i < 60; i++) await accept([`${i}@one.test`]);
  await until(() => hanging.length === 2);
  const id = await accept(["a@two.test"]);
  const entries = await ending(id);
  assert.equal(entries.filter(({ event }) => event === "delivery.succeeded").length, 2);
  assert.equal(hanging.length, 2, "the hanging target has no more than its places");
  scripts.clear();
  for (const resolve of hanging) resolve();
});

test("recipients that no route takes any more end as a dead letter that says so", async () => {
  const id = await accept(["a@gone.test", "b@one.test"]);
  const entries = await ending(id);
  const dead = entries.find(({ event }) => event === "job.dead");
  assert.ok(dead);
  assert.deepEqual(dead.data.recipients, ["a@gone.test"]);
  assert.match((dead.data.failure as { message: string }).message, /no route leads a@gone.test/);
  assert.ok(words(entries).includes("delivery.succeeded lmtp:one:24 b@one.test"));
});

test("each route's schedule is its own: a list has one attempt more than it has delays", async () => {
  scripts.set("lmtp:list:24", ({ recipients }) =>
    recipients.map((recipient) => ({ recipient, result: "deferred", reply: "450 busy", code: "450" })),
  );
  attempts.length = 0;
  const entries = await ending(await accept(["a@list.test"]));
  scripts.clear();
  // Those of earlier messages for other targets may still come in.
  const ours = attempts.filter(({ label }) => label === "lmtp:list:24");
  assert.deepEqual(
    ours.map(({ attempt }) => attempt),
    [1, 2],
  );
  assert.deepEqual(words(entries), [
    "delivery.deferred lmtp:list:24 a@list.test",
    "delivery.deferred lmtp:list:24 a@list.test",
    "job.dead lmtp:list:24 a@list.test",
  ]);
  assert.equal(entries.at(-1)?.data.attempts, 2);
});
