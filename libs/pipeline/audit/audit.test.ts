import assert from "node:assert/strict";
import { rmSync, truncateSync } from "node:fs";
import { after, before, test } from "node:test";
import { type MessageId, newMessageId, routeSchema } from "@millrace/mail";
import { blobPath } from "@millrace/mailstore";
import { until } from "@millrace/test/until";
import { startTestPipeline, type TestPipeline } from "../testing/test-pipeline.ts";
import { defineWorker } from "../worker.ts";
import { type AuditOptions, audit } from "./audit.ts";
import type { AuditReport } from "./report.ts";

let system: TestPipeline;
let folder: string;
const routes = [routeSchema.parse({ recipients: "*", to: { lmtp: "one:24" } })];
const work = (id: MessageId) => `millrace:{0}:work:${id}`;

before(async () => {
  system = await startTestPipeline();
  folder = system.folder;
  await system.start(
    defineWorker({
      name: "deliver",
      on: ["message.stored", "delivery.requested"],
      handle(_event, ctx) {
        const recipients = ctx.envelope.recipients;
        ctx.emit("delivery.succeeded", {
          target: "t",
          label: "t",
          recipients,
          attempt: 1,
          ms: 1,
          reply: "250",
        });
      },
    }),
  );
});
after(() => system.stop());

async function delivered(count: number): Promise<MessageId[]> {
  const ids = await Promise.all(Array.from({ length: count }, () => system.accept()));
  await system.idle();
  return ids;
}
const look = (options: Partial<AuditOptions> = {}) =>
  audit(system.pipeline, { blobs: "content", settlesWithin: 500, ...options });
const found = ({ findings }: AuditReport) => findings.map(({ problem, message }) => `${problem} ${message}`);

test("holds when every message is at its end or in flight, and counts them", async () => {
  await delivered(20);
  const report = await look();
  assert.deepEqual([report.holds, report.missing, report.findings], [true, 0, []]);
  assert.deepEqual([report.accepted, report.terminal.delivered, report.blobs.checked], [20, 20, 20]);
});

test("an end that the mail store has not heard of yet is an end", async () => {
  const before = await look();
  await system.accept();
  await until(async () => (await system.pipeline.ledger.openCount()) === 0);
  const report = await look();
  assert.deepEqual([report.holds, report.accepted], [true, before.accepted + 1]);
  assert.equal(report.terminal.archiving, 1);
  await system.archive();
});

test("holds while traffic flows, at any instant, however far the journal is behind", async () => {
  const send = async () => {
    for (let round = 0; round < 10; round++)
      await Promise.all(Array.from({ length: 10 }, () => system.accept()));
  };
  const reports: AuditReport[] = [];
  // How often an audit meets mail on its way is a matter of speed: there are bursts until some have.
  await until(async () => {
    const [report] = await Promise.all([look({ blobs: "none" }), send()]);
    reports.push(report);
    await system.archive();
    const flying = reports.filter(({ inFlight }) => inFlight.received + inFlight.stored > 0);
    return reports.length >= 5 && flying.length >= 2;
  });
  for (const report of reports) assert.deepEqual([report.missing, report.findings], [0, []]);
  await system.idle();
});

test("a message that is nowhere is lost, and cannot be repaired", async () => {
  const [id] = (await delivered(1)) as [string];
  const before = await look();
  // As a Redis without fsync would: everything of one message is gone, its acceptance is known.
  const other = newMessageId();
  const entry = { message: other, at: 1, event: "message.received", worker: "edge", data: {} };
  await system.pipeline.redis.xadd("millrace:{0}:journal", "*", "j", JSON.stringify(entry));
  const report = await look({
    repair: { routing: { routes, relay: undefined }, by: "test" },
    acknowledged: [id, other],
  });
  assert.deepEqual(found(report), [`lost ${other}`]);
  assert.deepEqual([report.missing, report.findings[0]?.repaired], [1, null]);
  assert.equal(report.accepted, before.accepted + 1);
  // Archived or not, it is told.
  await system.archive();
  assert.deepEqual(found(await look()), [`lost ${other}`]);
  await forget(other);
});

test("an acknowledged id of which nothing is known is told", async () => {
  const [id] = (await delivered(1)) as [string];
  const never = newMessageId();
  const report = await look({ acknowledged: [id, never] });
  assert.deepEqual(found(report), [`unknown ${never}`]);
  assert.equal(report.holds, false);
});

test("a body without work is stranded, and starts again when repaired", async () => {
  const held = await pausedStore();
  const id = await system.accept();
  await system.pipeline.redis.del(work(id));
  await system.pipeline.redis.zrem("millrace:{0}:open", id);
  await until(() => held.removeJob(`${id}/store/message.received`));
  await held.resume();
  assert.deepEqual(found(await look()), [`stranded ${id}`]);
  const report = await look({ repair: { routing: { routes, relay: undefined }, by: "test" } });
  assert.match(report.findings[0]?.repaired ?? "", /started again with store\/message.received/);
  await system.idle();
  assert.deepEqual(found(await look()), []);
  assert.equal(system.store.summary(id)?.state, "delivered");
});

test("a stored message without work and without an end is delivered when repaired", async () => {
  const [id] = (await delivered(1)) as [string];
  // A delivery of its own that nobody finishes.
  const entry = {
    message: id,
    at: 1,
    event: "delivery.deferred",
    worker: "deliver",
    data: { target: "t", recipients: ["c@d.test"] },
  };
  await system.pipeline.redis.xadd("millrace:{0}:journal", "*", "j", JSON.stringify(entry));
  await system.archive();
  assert.deepEqual(found(await look()), [`unfinished ${id}`]);
  const report = await look({ repair: { routing: { routes, relay: undefined }, by: "test" } });
  assert.match(report.findings[0]?.repaired ?? "", /delivering again: deliver\/delivery.requested\/lmtp-/);
  await system.idle();
  assert.deepEqual(found(await look()), []);
});

test("work without a job is woken", async () => {
  const held = await pausedStore();
  const id = await system.accept();
  // The wake-up comes by itself, a moment after the acceptance.
  await until(() => held.removeJob(`${id}/store/message.received`));
  await system.pipeline.redis.zadd("millrace:{0}:open", 1, id);
  await held.resume();
  const report = await look({ repair: { routing: { routes, relay: undefined }, by: "test" } });
  assert.deepEqual(found(report), [`unwoken ${id}`]);
  await system.idle();
  assert.deepEqual(found(await look()), []);
});

test("a failure without a dead letter, a missing blob, one cut short and one altered are told", async () => {
  const [silent, missing, short, altered] = (await delivered(4)) as [string, string, string, string];
  const entry = {
    message: silent,
    at: 1,
    event: "delivery.failed",
    worker: "deliver",
    data: { target: "t", recipients: ["c@d.test"] },
  };
  await system.pipeline.redis.xadd("millrace:{0}:journal", "*", "j", JSON.stringify(entry));
  await system.archive();
  rmSync(`${folder}/mail/${blobPath(missing)}`);
  truncateSync(`${folder}/mail/${blobPath(short)}`, 3);
  const { writeFileSync } = await import("node:fs");
  writeFileSync(`${folder}/mail/${blobPath(altered)}`, "Subject: Hullo\r\n\r\nx\r\n");
  const report = await look();
  assert.deepEqual(
    found(report).sort(),
    [`damaged ${altered}`, `damaged ${missing}`, `damaged ${short}`, `silent ${silent}`].sort(),
  );
  assert.equal(found(await look({ blobs: "size" })).filter((each) => each.startsWith("damaged")).length, 2);
});

/** Keeps the store worker from taking jobs. */
async function pausedStore() {
  const { Queue } = await import("bullmq");
  const queue = new Queue("store", { connection: system.pipeline.redis, prefix: "millrace:{store}" });
  await queue.pause();
  await until(async () => queue.isPaused());
  return {
    removeJob: async (job: string) =>
      (await queue.getJob(job)) !== undefined && (await queue.remove(job)) === 1,
    async resume() {
      await queue.resume();
      await queue.close();
    },
  };
}

/** Takes a made-up acceptance out of the journal again. */
async function forget(id: MessageId): Promise<void> {
  const { DatabaseSync } = await import("node:sqlite");
  const db = new DatabaseSync(`${folder}/mail/index.sqlite`);
  db.prepare("DELETE FROM journal WHERE message = ?").run(id);
  db.close();
}
