import assert from "node:assert/strict";
import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { until } from "@millrace/test/until";
import { retryNow, takeBack } from "./in-hand.ts";
import { startTestPipeline, type TestPipeline } from "./testing/test-pipeline.ts";
import { defineWorker, Snooze } from "./worker.ts";

let system: TestPipeline;
const children: ChildProcess[] = [];

before(async () => {
  system = await startTestPipeline();
  await system.pipeline.subscriptions.register({ name: "dying", on: ["message.stored"] });
});
after(async () => {
  for (const child of children) child.kill("SIGKILL");
  await system.stop();
});

/** Starts the process whose worker a message kills; resolves with its pid when it has died. */
async function dieOnce(): Promise<number> {
  const file = join(import.meta.dirname, "testing/dying-worker.ts");
  const child = fork(file, [system.folder, system.redis.url]);
  children.push(child);
  await once(child, "exit");
  return child.pid as number;
}

test("what a process had in hand when it died is given back at once, and is a suspect if that was its doing", async () => {
  const message = await system.accept({ body: "poison" });
  const unit = "dying/message.stored";
  const deaths = async () => (await system.pipeline.ledger.unitsOf(message)).get(unit)?.trials ?? 0;
  const lost = [{ message, unit, event: "message.stored", attempt: 1 }];

  const first = await dieOnce();
  assert.deepEqual(await takeBack(system.pipeline, "dying", { pid: first + 1, blame: true }), []);
  assert.deepEqual(await takeBack(system.pipeline, "dying", { pid: first, blame: false }), lost);
  assert.equal((await system.pipeline.queues.counts("dying")).waiting, 1);
  assert.equal(await deaths(), 0);

  const second = await dieOnce();
  assert.deepEqual(await takeBack(system.pipeline, "dying", { pid: second, blame: true }), lost);
  assert.equal(await deaths(), 1);

  // It is on trial now: whoever ends that process from outside has not found it guilty.
  const third = await dieOnce();
  assert.equal(await deaths(), 2);
  await takeBack(system.pipeline, "dying", { pid: third, blame: false });
  assert.equal(await deaths(), 1);
});

test("what failed is tried at once; what was snoozed keeps its time", async () => {
  const runs: string[] = [];
  const worker = await system.start(
    defineWorker({
      name: "slow-to-retry",
      on: "message.stored",
      retry: ["1h", "1h"],
      async handle(_, ctx) {
        const body = (await ctx.read()).toString();
        runs.push(body.includes("fails") ? "fails" : "snoozes");
        if (body.includes("snoozes")) throw new Snooze(3_600_000);
        if (runs.filter((run) => run === "fails").length < 2) throw new Error("not yet");
      },
    }),
  );
  await system.accept({ body: "fails" });
  await system.accept({ body: "snoozes" });
  await until(async () => (await system.pipeline.queues.counts("slow-to-retry")).delayed === 2);
  assert.equal(await retryNow(system.pipeline, "slow-to-retry"), 1);
  await until(() => runs.length === 3);
  assert.deepEqual(runs.toSorted(), ["fails", "fails", "snoozes"]);
  await worker.stop();
});
