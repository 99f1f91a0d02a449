import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { messageIdSchema } from "@millrace/mail";
import { until } from "@millrace/test/until";
import { z } from "zod";
import { storedItems } from "./replay-items.ts";
import { startTestPipeline, type TestPipeline } from "./testing/test-pipeline.ts";
import { defineWorker } from "./worker.ts";
import { runningProcesses } from "./worker-processes.ts";

const messageNote = z.object({});
let system: TestPipeline;
before(async () => {
  system = await startTestPipeline();
});
after(() => system.stop());

function noting(name: string, on: readonly string[], heard: string[], options: object = {}) {
  return defineWorker({
    ...{ name, on },
    ...options,
    handle: (event) => void heard.push(`${event.name} ${event.message}`),
  });
}

test("only messages that a worker wants become jobs of it, live and in a replay", {
  timeout: 60_000,
}, async () => {
  const heard: string[] = [];
  const where = { recipients: "*@in.example", header: { Subject: "Bill*" } };
  await system.start(noting("picky", ["message.stored"], heard, { where }));
  const wanted = await system.accept({ recipients: ["x@y.test", "bills@in.example"], subject: "Bill 7" });
  const others = [
    await system.accept({ recipients: ["x@y.test"], subject: "Bill 8" }),
    await system.accept({ recipients: ["bills@in.example"], subject: "Hello" }),
  ];
  await system.idle();
  // The test pipeline's parsed messages have no header fields: the one is decided by its recipients alone.
  assert.deepEqual(heard, []);
  const { pipeline, store } = system;
  const source = {
    mailstore: store,
    spool: pipeline.spool,
    ledger: pipeline.ledger,
    routing: { routes: [] },
  };
  const units = async (filter: object) => {
    const found: string[] = [];
    const worker = { worker: "picky", events: ["message.stored"], where: filter };
    for await (const item of storedItems(source, {}, worker, false, undefined)) {
      if (item.units.size > 0) found.push(item.manifest.id);
    }
    return found;
  };
  assert.deepEqual(await units({ recipients: ["*@in.example"] }), [wanted, others[1]]);
  assert.deepEqual(await units({ recipients: ["nobody@*"] }), []);
});

test("a changed filter and event list take effect at once and say what changed", {
  timeout: 60_000,
}, async () => {
  const { subscriptions } = system.pipeline;
  const first = { name: "changing", on: ["message.stored"], where: { sender: ["a@*"] } };
  assert.deepEqual(await subscriptions.register(first), { outcome: "new", changes: [] });
  assert.equal((await subscriptions.register(first)).outcome, "unchanged");
  const second = { name: "changing", on: ["message.parsed"] };
  assert.deepEqual(await subscriptions.register(second), {
    outcome: "changed",
    changes: ["on: + message.parsed", "on: - message.stored", 'where: {"sender":["a@*"]} -> none'],
  });
  assert.equal(
    subscriptions.to("message.stored").some(({ worker }) => worker === "changing"),
    false,
  );
  assert.equal(
    subscriptions.to("message.parsed").some(({ worker }) => worker === "changing"),
    true,
  );
  // Nobody runs it: going back is going back.
  assert.equal((await subscriptions.register(first)).outcome, "changed");
  await subscriptions.remove("changing");
});

test("two versions at once: each gets what it knows, and the old one does not undo the new one's subscription", {
  timeout: 60_000,
}, async () => {
  const { subscriptions, redis } = system.pipeline;
  const [old, young]: string[][] = [[], []];
  const oldWorker = noting("rolling", ["message.stored"], old as string[], { version: "1" });
  const running = await system.start(oldWorker);
  const newer = await system.start(
    noting("rolling", ["message.stored", "note"], young as string[], { version: "2" }),
  );
  await system.start(
    defineWorker({
      ...{ name: "emitting", on: "message.stored", emits: { note: messageNote } },
      handle: (_event, ctx) => ctx.emit("note", {}),
    }),
  );
  for (let i = 0; i < 8; i++) await system.accept();
  await system.idle();
  const all = [...(old as string[]), ...(young as string[])];
  assert.equal(all.filter((each) => each.startsWith("message.stored ")).length, 8);
  assert.equal((young as string[]).filter((each) => each.startsWith("note ")).length, 8);
  assert.deepEqual((await runningProcesses(redis, "rolling")).map(({ version }) => version).sort(), [
    "1",
    "2",
  ]);

  await running.stop();
  assert.equal((await subscriptions.register(oldWorker)).outcome, "kept");
  assert.deepEqual(subscriptions.of("rolling")?.events, ["message.stored", "note"]);
  await newer.stop();
  assert.equal((await subscriptions.register(oldWorker)).outcome, "changed");
  await subscriptions.remove("rolling");
  await subscriptions.remove("emitting");
});

test("a job left from an event that nobody subscribes to any more is a dead letter, not lost", {
  timeout: 60_000,
}, async () => {
  await system.pipeline.subscriptions.register({ name: "moved", on: ["message.stored"] });
  const id = messageIdSchema.parse(await system.accept());
  await until(async () => (await system.pipeline.ledger.unitsOf(id)).has("moved/message.stored"));
  await system.start(noting("moved", ["message.parsed"], []));
  await system.idle();
  const [letter] = system.store.deadLetters({ worker: "moved" }, { limit: 2 });
  assert.equal(letter?.message, id);
  assert.match(letter?.error ?? "", /does not subscribe to message\.stored any more/);
});
