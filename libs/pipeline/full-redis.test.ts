import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import type { MessageId } from "@millrace/mail";
import { createLogger } from "@millrace/service";
import { accept } from "@millrace/test/message";
import { startRedis, type TestRedis } from "@millrace/test/redis";
import { until } from "@millrace/test/until";
import type { Intake } from "./intake.ts";
import { openIntake } from "./open-intake.ts";
import { openPipeline, type Pipeline } from "./open-pipeline.ts";
import { startWorker } from "./start-worker.ts";
import { defineWorker, Snooze } from "./worker.ts";

let server: TestRedis;
let folder: string;
let intake: Intake;
let pipeline: Pipeline;
const lines: { msg: string }[] = [];
const log = createLogger("test", "info", { write: (text: string) => void lines.push(JSON.parse(text)) });

before(async () => {
  server = await startRedis();
  folder = await mkdtemp(join(tmpdir(), "millrace-full-"));
  const paths = { data: folder, redis: folder, mail: join(folder, "mail"), maildir: folder };
  pipeline = await openPipeline({ redisUrl: server.url, paths }, log);
  intake = await openIntake(server.url, log);
});
after(async () => {
  await intake.close();
  await pipeline.close();
  await server.stop();
  await rm(folder, { recursive: true });
});

test("at maxmemory workers rest; with room again everything goes on by itself, once and without a dead letter", {
  timeout: 100_000,
}, async () => {
  const runs = new Map<string, number>();
  let go: () => void = () => {};
  const held = new Promise<void>((resolve) => {
    go = resolve;
  });
  const count = (key: string) => runs.set(key, (runs.get(key) ?? 0) + 1);
  const first = defineWorker({
    name: "first",
    on: "message.received",
    concurrency: 4,
    emits: {},
    async handle(event, ctx) {
      await held;
      count(`first ${event.message}`);
      ctx.emit("message.stored", {});
    },
  });
  const second = defineWorker({
    name: "second",
    on: "message.stored",
    handle: (event) => void count(`second ${event.message}`),
  });
  // Free hands, and jobs that fall due while Redis is full: these are asked for again and again.
  const late = defineWorker({
    name: "late",
    on: "message.received",
    handle(event) {
      count(`late ${event.message}`);
      if (runs.get(`late ${event.message}`) === 1) throw new Snooze(3_000);
    },
  });
  const timing = { finishWithin: 500, lockDuration: 20_000, stalledInterval: 1_000, idleAfter: 1_500 };
  const running = await Promise.all([first, second, late].map((each) => startWorker(each, pipeline, timing)));
  const ids: MessageId[] = [];
  for (let i = 0; i < 20; i++) ids.push(await accept(intake, "Subject: y\r\n\r\nz\r\n"));
  await until(async () => (await pipeline.queues.counts("first")).active >= 4);
  await until(async () => (await pipeline.queues.counts("late")).delayed === 20);

  // Four are in hand and cannot be settled, sixteen wait and cannot be taken.
  await pipeline.redis.config("SET", "maxmemory", 1);
  go();
  await until(() => runs.size >= 24);
  lines.length = 0;
  await sleep(6_000);
  assert.ok(lines.length < 100, `${lines.length} lines were logged in 6 s`);
  assert.ok(
    !lines.some(({ msg }) => /started anew|made anew/.test(msg)),
    "a full Redis is not an idle client",
  );
  assert.equal(await pipeline.ledger.openCount(), 20);

  await pipeline.redis.config("SET", "maxmemory", 0);
  await until(async () => {
    const units = await Promise.all(ids.map((id) => pipeline.ledger.unitsOf(id)));
    return units.every((each) => each.size === 0);
  }, 60_000);
  for (const id of ids) {
    assert.equal(runs.get(`first ${id}`), 1);
    assert.equal(runs.get(`second ${id}`), 1);
    assert.equal(runs.get(`late ${id}`), 2);
    const events = (await pipeline.journal.of(id)).map(({ event }) => event);
    assert.ok(!events.includes("job.dead"), String(events));
  }
  for (const worker of ["first", "second", "late"]) {
    await until(async () => {
      const { waiting, active, delayed, failed } = await pipeline.queues.counts(worker);
      return waiting + active + delayed + failed === 0;
    }, 60_000);
  }
  await Promise.all(running.map((each) => each.stop()));
});
