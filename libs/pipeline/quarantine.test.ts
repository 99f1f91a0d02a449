import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { type Delivery, type MessageId, routeSchema } from "@millrace/mail";
import { until } from "@millrace/test/until";
import { audit } from "./audit/audit.ts";
import { discard, heldMessage, release } from "./quarantine.ts";
import { replay } from "./replay.ts";
import { storedItems } from "./replay-items.ts";
import { startTestPipeline, type TestPipeline } from "./testing/test-pipeline.ts";
import { defineWorker } from "./worker.ts";

let system: TestPipeline;
/** What the gate does with a message, by its subject. */
const header = { add: [{ name: "X-Seen", value: "yes" }], remove: [] };
const deliveries: { message: MessageId; data: Record<string, unknown> }[] = [];
const delivery = { after: "message.cleared" as const };
const routes = [routeSchema.parse({ recipients: "*", to: { lmtp: "one:24" } })];

before(async () => {
  system = await startTestPipeline();
  await system.start(
    defineWorker({
      name: "gate",
      on: "message.stored",
      retry: { attempts: 1 },
      async handle({ message }, ctx) {
        const { subject } = await ctx.parsed();
        if (subject === "broken") throw new Error("the scanner is broken");
        if (subject === "bad") ctx.emit("message.quarantined", { by: "gate", reason: "it is bad", header });
        else ctx.emit("message.cleared", { header });
        ctx.log.debug({ message }, "judged");
      },
    }),
  );
  await system.start(
    defineWorker({
      name: "deliver",
      on: ["message.cleared", "delivery.requested"],
      handle({ message, data }, ctx) {
        deliveries.push({ message, data });
        const { recipients } = ctx.envelope;
        const outcome = { target: "t", label: "t", recipients, attempt: 1, ms: 1, reply: "250" };
        ctx.emit("delivery.succeeded", outcome);
      },
    }),
  );
});
after(() => system.stop());

const of = (id: MessageId) => deliveries.filter(({ message }) => message === id);
const look = () => audit(system.pipeline, { blobs: "content", settlesWithin: 500, delivery });
const held = (id: MessageId) => {
  const found = heldMessage(system.store, id);
  assert.ok(found);
  return found;
};
async function accepted(subject: string): Promise<MessageId> {
  const id = await system.accept({ subject });
  await system.idle();
  return id;
}

describe("a message that is held back", () => {
  test("is delivered to nobody, and the audit holds", async () => {
    const id = await accepted("bad");
    assert.equal(of(id).length, 0);
    assert.equal(system.store.summary(id)?.state, "quarantined");
    const report = await look();
    assert.deepEqual([report.findings, report.terminal.quarantined], [[], 1]);
  });

  test("is delivered once by two who release it, with the edits it was held with", async () => {
    const id = await accepted("bad");
    const seen = held(id);
    const done = await Promise.all(
      ["a", "b"].map((run) => release(system.pipeline, seen, { run, by: `${run}@host` })),
    );
    assert.deepEqual(done.sort(), [false, true]);
    await system.idle();
    assert.deepEqual(
      of(id).map(({ data }) => data),
      [{ header }],
    );
    assert.equal(system.store.summary(id)?.state, "delivered");
    // Whoever goes by what he saw before does not deliver it again, however much later.
    assert.equal(await release(system.pipeline, seen, { run: "c", by: "c@host" }), false);
    assert.equal(await discard(system.pipeline, seen, { run: "d", by: "d@host" }), false);
    await system.idle();
    assert.equal(of(id).length, 1);
    assert.deepEqual((await look()).findings, []);
  });

  test("a release whose answer got lost is known again, and done once", async () => {
    const id = await accepted("bad");
    const seen = held(id);
    const decider = { run: "same", by: "a@host" };
    assert.deepEqual(
      [await release(system.pipeline, seen, decider), await release(system.pipeline, seen, decider)],
      [true, true],
    );
    await system.idle();
    assert.equal(of(id).length, 1);
    const entries = system.store.journal(id).filter(({ event }) => event === "quarantine.released");
    assert.equal(entries.length, 1);
  });

  test("can be released after it was discarded", async () => {
    const id = await accepted("bad");
    assert.equal(await discard(system.pipeline, held(id), { run: "x", by: "a@host", reason: "spam" }), true);
    await system.idle();
    assert.equal(system.store.summary(id)?.state, "discarded");
    assert.equal(held(id).decision, "discarded");
    assert.equal(await release(system.pipeline, held(id), { run: "y", by: "a@host" }), true);
    await system.idle();
    assert.equal(of(id).length, 1);
  });

  test("is not to be had by a replay of deliveries", async () => {
    const id = await accepted("bad");
    assert.deepEqual(await unitsFor(id, true), []);
    assert.deepEqual(await unitsFor(id, true, { after: "message.stored" }), []);
    await release(system.pipeline, held(id), { run: "z", by: "a@host" });
    await system.idle();
    const [unit] = await unitsFor(id, true);
    assert.deepEqual(unit?.data.header, header, "what comes later finds the edits in the journal");
  });
});

/** What a replay through deliver would open for a message. */
async function unitsFor(id: MessageId, force: boolean, when: Delivery = delivery) {
  const { spool, ledger } = system.pipeline;
  const source = { mailstore: system.store, spool, ledger, routing: { routes, delivery: when } };
  const worker = { worker: "deliver", events: ["message.cleared"], where: undefined };
  const units = [];
  for await (const item of storedItems(source, { messages: [id] }, worker, force, undefined)) {
    units.push(...[...item.units.values()].map(({ unit }) => unit));
  }
  return units;
}

test("a replay of deliveries carries the edits, and none goes to what was never cleared", async () => {
  const good = await accepted("good");
  assert.deepEqual((await unitsFor(good, true))[0]?.data.header, header);
  const broken = await accepted("broken");
  assert.deepEqual(await unitsFor(broken, true), []);
});

test("what the gate could not judge waits with its dead letter, counted and not lost", async () => {
  const id = await accepted("broken");
  assert.equal(of(id).length, 0);
  const report = await look();
  assert.deepEqual(report.findings, []);
  assert.ok((report.terminal.uncleared ?? 0) > 0);
  assert.equal(system.store.deadLetters({ messages: [id] }, { limit: 2 })[0]?.worker, "gate");
  const without = await audit(system.pipeline, { blobs: "none", settlesWithin: 0 });
  assert.ok(without.findings.some(({ problem, message }) => problem === "unfinished" && message === id));
});

test("a gate run again over what it held back lets it go, and the message is delivered", async () => {
  const id = await accepted("bad");
  const { pipeline } = system;
  const unit = { v: 1 as const, event: "message.cleared", at: Date.now(), data: {}, attempts: 0 };
  const manifest = system.store.manifest(id);
  assert.ok(manifest);
  const item = {
    manifest,
    position: "1",
    units: new Map([["deliver/message.cleared", { unit, worker: "deliver", job: "x" }]]),
  };
  const items = (async function* () {
    yield item;
  })();
  const signal = new AbortController().signal;
  await replay(pipeline, items, { run: "r", by: "a@host", ordinal: 0, signal });
  await until(() => of(id).length === 1);
  await system.idle();
  assert.equal(system.store.summary(id)?.state, "delivered");
});
