import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, before, test } from "node:test";
import { emptyParsedMessage, type MessageId, newMessageId, personOf } from "@millrace/mail";
import { createLogger } from "@millrace/service";
import { accept as acceptInto } from "@millrace/test/message";
import { startRedis, type TestRedis } from "@millrace/test/redis";
import { until } from "@millrace/test/until";
import { openIntake } from "./open-intake.ts";
import { openPipeline, type Pipeline } from "./open-pipeline.ts";
import { personInFlight } from "./person-in-flight.ts";
import { reconcile } from "./reconciler.ts";
import { removeMessage, stillInFlight } from "./remove-message.ts";
import { type RunningWorker, startWorker } from "./start-worker.ts";
import { defineWorker } from "./worker.ts";

const log = createLogger("test", "silent");
const zora = personOf("zora@example.com");
let server: TestRedis;
let folder: string;
let pipeline: Pipeline;
let workers: RunningWorker[] = [];

before(async () => {
  server = await startRedis();
  folder = await mkdtemp(join(tmpdir(), "millrace-remove-"));
  const paths = { data: folder, redis: folder, mail: `${folder}/mail`, maildir: folder };
  pipeline = await openPipeline({ redisUrl: server.url, paths }, log);
});
afterEach(async () => {
  await Promise.all(workers.map((worker) => worker.stop()));
  workers = [];
  await pipeline.redis.flushall();
});
after(async () => {
  await pipeline.close();
  await server.stop();
  await rm(folder, { recursive: true });
});

async function accept(options: { from?: string; to?: string; body?: string } = {}): Promise<MessageId> {
  const intake = await openIntake(server.url, log);
  const { from = "a@b.test", to, body = "Received: x\r\nSubject: y\r\n\r\nz\r\n" } = options;
  const id = await acceptInto(intake, body, { from, recipients: ["c@d.test", ...(to ? [to] : [])] });
  await intake.close();
  return id;
}

/** A worker that has each message in hand until it is let go. */
async function holdingWorker(name: string) {
  const gate = Promise.withResolvers<void>();
  const started: MessageId[] = [];
  const worker = defineWorker({
    name,
    on: "message.received",
    concurrency: 1,
    async handle(event, ctx) {
      started.push(event.message);
      await gate.promise;
      ctx.emit("message.parsed", { unparsed: false, defects: [] });
    },
  });
  const running = await startWorker(worker, pipeline, { finishWithin: 200 });
  workers.push(running);
  return { running, started, letGo: gate.resolve };
}

const keysWith = async (text: string) => {
  const keys = await pipeline.redis.keys("millrace:*");
  return keys.filter((key) => key.includes(text));
};

test("a removed message is nowhere in Redis, its running job finds nothing to record, the others go on", async () => {
  const { running, started, letGo } = await holdingWorker("hold");
  const [first, waiting, kept] = [await accept(), await accept(), await accept()];
  await until(() => started.length === 1);
  await pipeline.spool.putParsed(first, emptyParsedMessage([]));
  const counts = { body: true, units: 1, journalEntries: 1 };
  assert.deepEqual(await removeMessage(pipeline, first), { ...counts, parsed: true, jobs: 0, running: 1 });
  assert.deepEqual(await removeMessage(pipeline, waiting), { ...counts, parsed: false, jobs: 1, running: 0 });
  assert.deepEqual(await keysWith(waiting), []);
  assert.deepEqual(await stillInFlight(pipeline.redis, [first, waiting, kept]), new Set([kept]));
  letGo();
  await until(() => started.includes(kept));
  await until(async () => (await pipeline.journal.of(kept)).some(({ event }) => event === "message.parsed"));
  await running.stop();
  await reconcile(pipeline, 0);
  for (const id of [first, waiting]) {
    assert.deepEqual([await keysWith(id), await pipeline.journal.of(id)], [[], []]);
  }
  assert.ok(!started.includes(waiting));
  // Once more, and for one that was never there: nothing.
  const none = { body: false, parsed: false, units: 0, jobs: 0, running: 0, journalEntries: 0 };
  for (const id of [first, newMessageId()]) assert.deepEqual(await removeMessage(pipeline, id), none);
});

test("a person's messages are found by envelope, by parsed message and by the header of one not parsed yet", async () => {
  await holdingWorker("hold");
  const from = await accept({ from: "zora@example.com" });
  const to = await accept({ to: "Zora@Example.com" });
  const header = await accept({ body: "Subject: y\r\nReply-To: Z <zora@example.com>\r\n\r\nz\r\n" });
  const mention = await accept({ body: "Subject: y\r\n\r\nwrite to zora@example.com\r\n" });
  const parsed = await accept();
  await pipeline.spool.putParsed(parsed, {
    ...emptyParsedMessage([]),
    cc: [{ name: "", address: "zora@example.com" }],
  });
  const late = newMessageId();
  await pipeline.spool.putParsed(late, {
    ...emptyParsedMessage([]),
    bcc: [{ name: "", address: "zora@example.com" }],
  });
  // One that a client is sending, and one whose client went away long ago.
  const [now, abandoned] = [newMessageId(), newMessageId()];
  for (const id of [now, abandoned]) {
    const text = Buffer.from(`To: zora@example.com\r\n\r\n${"x".repeat(70_000)}`);
    await pipeline.spool.draft(id).write(text);
  }
  await pipeline.redis.expire(`millrace:{0}:chunks:${abandoned}`, 86_400);

  const person = personInFlight(pipeline, zora, 600);
  const found: [string, number][] = [];
  for await (const { id, otherRecipients } of person.messages()) found.push([id, otherRecipients]);
  assert.deepEqual(
    found.sort(),
    [
      [from, 1],
      [to, 1],
      [header, 1],
      [parsed, 1],
      [late, 0],
      [abandoned, 0],
    ].sort(),
  );
  for (const [id] of found) await removeMessage(pipeline, id);
  const left = [];
  for await (const key of person.keys()) left.push(key);
  assert.deepEqual(left, [`millrace:{0}:chunks:${now}`]);
  assert.ok(await pipeline.spool.has(mention));
});

test("the address is found in whatever else the pipeline keeps", async () => {
  const { redis } = pipeline;
  await redis.set("millrace:text", "zora@example.com");
  await redis.hset("millrace:hash", "a", '{"b":"zora@example.com"}');
  await redis.rpush("millrace:list", ...Array.from({ length: 1_500 }, () => "x"), "zora@example.com");
  await redis.sadd("millrace:set", "zora@example.com");
  await redis.zadd("millrace:sorted", 1, "zora@example.com");
  for (let i = 0; i < 1_000; i++) await redis.xadd("millrace:stream", "*", "j", "x");
  await redis.xadd("millrace:stream", "*", "j", '{"to":"zora@example.com"}');
  await redis.set("millrace:other", "azora@example.com");
  await redis.set("foreign", "zora@example.com");
  const found = [];
  for await (const key of personInFlight(pipeline, zora, 600).keys()) found.push(key);
  const names = ["hash", "list", "set", "sorted", "stream", "text"];
  assert.deepEqual(
    found.sort(),
    names.map((name) => `millrace:${name}`),
  );
});
