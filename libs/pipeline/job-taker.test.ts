import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { until } from "@millrace/test/until";
import { jobKey } from "./keys.ts";
import { startWorker } from "./start-worker.ts";
import { startTestPipeline, type TestPipeline } from "./testing/test-pipeline.ts";
import { jobIdOf, unitName } from "./unit.ts";
import { defineWorker } from "./worker.ts";

let system: TestPipeline;
before(async () => {
  system = await startTestPipeline();
});
after(() => system.stop());

test("a run whose job is another process's by now lets go of it, and its hand is free again", async () => {
  const { pipeline } = system;
  const unit = unitName("overtaken", "message.stored");
  let runs = 0;
  const worker = defineWorker({
    name: "overtaken",
    on: "message.stored",
    concurrency: 1,
    retry: ["100ms"],
    async handle({ message }) {
      if (++runs > 1) return;
      // As if it had stood still for longer than its lock lasts.
      await pipeline.redis.del(`${jobKey("overtaken", jobIdOf({ message, unit }))}:lock`);
      throw new Error("too late");
    },
  });
  const running = await startWorker(worker, pipeline, { lockDuration: 2_000, stalledInterval: 300 });
  await system.accept();
  await system.idle();
  assert.equal(runs, 2);
  await until(async () => (await pipeline.queues.counts("overtaken")).active === 0);
  await running.stop();
});
