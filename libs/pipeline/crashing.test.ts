import assert from "node:assert/strict";
import { type ChildProcess, fork } from "node:child_process";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { until } from "@millrace/test/until";
import { startTestPipeline, type TestPipeline } from "./testing/test-pipeline.ts";

let system: TestPipeline;
let child: ChildProcess | undefined;
let stopping = false;
/** What each message's runs were told of earlier deaths. */
const runs = new Map<string, number[]>();
let deaths = 0;

function start(): void {
  const file = join(import.meta.dirname, "testing/dying-worker.ts");
  child = fork(file, [system.folder, system.redis.url]);
  child.on("message", ({ began, crashes }: { began: string; crashes: number }) => {
    runs.set(began, [...(runs.get(began) ?? []), crashes]);
  });
  child.once("exit", () => {
    if (stopping) return;
    deaths++;
    start();
  });
}

before(async () => {
  system = await startTestPipeline();
  await system.pipeline.subscriptions.register({ name: "dying", on: ["message.stored"] });
});
after(async () => {
  stopping = true;
  child?.kill("SIGKILL");
  await system.stop();
});

test("a message that kills its worker is a dead letter after a bounded number of starts, and harms no other", {
  timeout: 90_000,
}, async () => {
  const harmless: string[] = [];
  const accept = async (body: string) => system.accept({ body });
  for (let i = 0; i < 10; i++) harmless.push(await accept("harmless"));
  const poison = await accept("poison");
  for (let i = 0; i < 10; i++) harmless.push(await accept("harmless"));
  start();
  await until(async () => (await system.pipeline.ledger.openCount()) === 0);
  await system.archive();

  const letters = system.store.deadLetters({}, { limit: 100 });
  assert.deepEqual(
    letters.map(({ message, code }) => [message, code]),
    [[poison, "CRASHED"]],
  );
  // Once with the others unknowingly, then in ever smaller groups.
  assert.deepEqual(runs.get(poison), [0, 0, 1, 2, 3]);
  assert.equal(deaths, 5);
  for (const id of harmless) {
    const told = runs.get(id) ?? [];
    assert.ok(told.length >= 1 && told.length <= 4, `${told}`);
    assert.ok(Math.max(...told) <= 2, `${told}`);
  }
});
