import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import type { MessageId } from "@millrace/mail";
import { until } from "@millrace/test/until";
import { Effects } from "./once.ts";
import { replay } from "./replay.ts";
import { deadLetterItems, storedItems } from "./replay-items.ts";
import { startTestPipeline, type TestPipeline } from "./testing/test-pipeline.ts";
import { unitName } from "./unit.ts";
import { defineWorker } from "./worker.ts";

let system: TestPipeline;
before(async () => {
  system = await startTestPipeline();
});
after(() => system.stop());

const quick = { firstDelay: 10, maxDelay: 20, jitter: 0, attempts: 3 };
const direct = <T>(step: () => Promise<T>) => step();

async function replayAll(worker: string, dead: boolean): Promise<number> {
  const { pipeline, store } = system;
  const source = {
    mailstore: store,
    spool: pipeline.spool,
    ledger: pipeline.ledger,
    routing: { routes: [] },
  };
  const items = dead
    ? deadLetterItems(source, { worker }, Number.MAX_SAFE_INTEGER, undefined)
    : storedItems(source, {}, { worker, events: ["message.stored"] }, false, undefined);
  const run = { run: `r${Math.random()}`, by: "test", ordinal: 0, signal: new AbortController().signal };
  return (await replay(pipeline, items, run)).replayed;
}

test("an effect happens once over all attempts, and leaves nothing behind in Redis", {
  timeout: 60_000,
}, async () => {
  const results: unknown[] = [];
  let effects = 0;
  const worker = await system.start(
    defineWorker({
      name: "once",
      on: "message.stored",
      retry: quick,
      async handle(_event, ctx) {
        results.push(await ctx.once("pay", () => ({ receipt: ++effects })));
        if (ctx.attempt < 3) throw new Error("later");
      },
    }),
  );
  await system.accept();
  await until(() => results.length === 3);
  await system.idle();
  assert.deepEqual(results, [{ receipt: 1 }, { receipt: 1 }, { receipt: 1 }]);
  assert.deepEqual(await system.pipeline.redis.keys("millrace:*effects*"), []);
  // Run again on purpose, it is done again.
  assert.equal(await replayAll("once", false), 1);
  await until(() => results.length === 4);
  await system.idle();
  assert.equal(effects, 2);
  await worker.stop();
  await system.pipeline.subscriptions.remove("once");
});

test("a dead letter keeps what has happened, and its replay does not repeat it", {
  timeout: 60_000,
}, async () => {
  const done: string[] = [];
  let broken = true;
  const worker = await system.start(
    defineWorker({
      name: "dies",
      on: "message.stored",
      retry: { ...quick, attempts: 1 },
      async handle(_event, ctx) {
        await ctx.once("first", () => void done.push("first"));
        if (broken) throw new Error("broken");
        await ctx.once("second", () => void done.push("second"));
      },
    }),
  );
  await system.accept();
  await system.idle();
  await until(async () => {
    await system.archive();
    return system.store.countDeadLetters({ worker: "dies" }).total === 1;
  });
  assert.deepEqual(await system.pipeline.redis.keys("millrace:*effects*"), []);
  broken = false;
  assert.equal(await replayAll("dies", true), 1);
  await until(() => done.length === 2);
  await system.idle();
  assert.deepEqual(done, ["first", "second"]);
  await worker.stop();
  await system.pipeline.subscriptions.remove("dies");
});

test("an effect whose process died in the middle is unclear, or run again if it may be; two runs share one", {
  timeout: 60_000,
}, async () => {
  const { pipeline } = system;
  await pipeline.subscriptions.register({ name: "unclear", on: ["message.stored"] });
  const message: MessageId = await system.accept();
  const ref = { message, unit: unitName("unclear", "message.stored") };
  await until(async () => (await pipeline.ledger.unitsOf(message)).has(ref.unit));
  // As a process that was killed left it.
  assert.equal(await pipeline.effects.begin(ref, "unclear", "pay", "the dead"), "yours");
  // The answer got lost, and it asked again.
  assert.equal(await pipeline.effects.begin(ref, "unclear", "pay", "the dead"), "yours");
  const once = new Effects(pipeline.effects, "unclear").once(ref, direct);
  let paid = 0;
  await assert.rejects(
    once("pay", () => ++paid),
    { name: "PermanentFailure", code: "UNCLEAR", message: /may have happened or not/ },
  );
  assert.equal(paid, 0);
  assert.equal(await once("pay", () => ++paid, { repeatable: true }), 1);
  assert.equal(await once("pay", () => ++paid), 1);

  const gate = Promise.withResolvers<void>();
  let slow = 0;
  const both = [1, 2].map(() => once("slow", () => gate.promise.then(() => ++slow)));
  gate.resolve();
  assert.deepEqual(await Promise.all(both), [1, 1]);

  // A run that was overtaken has no more effects.
  await pipeline.ledger.settle(ref, { outcome: "done", journal: [], opens: new Map() });
  await assert.rejects(
    once("late", () => ++paid),
    { name: "Overtaken" },
  );
  assert.equal(paid, 1);
  await pipeline.subscriptions.remove("unclear");
});
