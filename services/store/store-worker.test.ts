import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { mkdtemp, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { emptyParsedMessage } from "@millrace/mail";
import { type MailStore, openMailStore } from "@millrace/mailstore";
import { defineWorker } from "@millrace/pipeline";
import {
  type Intake,
  openIntake,
  openPipeline,
  type Pipeline,
  startWorker,
} from "@millrace/pipeline/runtime";
import { createLogger } from "@millrace/service";
import { accept as acceptInto } from "@millrace/test/message";
import { startRedis, type TestRedis } from "@millrace/test/redis";
import { until } from "@millrace/test/until";
import { startArchiving } from "./archive-journal.ts";
import { storeWorker } from "./store-worker.ts";

const log = createLogger("test", "silent");
let redis: TestRedis;
let folder: string;
let pipeline: Pipeline;
let intake: Intake;
let mailstore: MailStore;
let stop: () => Promise<void>;

before(async () => {
  redis = await startRedis();
  folder = await mkdtemp(join(tmpdir(), "millrace-store-"));
  const paths = { data: folder, redis: folder, mail: `${folder}/mail`, maildir: folder };
  mailstore = openMailStore({ directory: paths.mail });
  pipeline = await openPipeline({ redisUrl: redis.url, paths }, log);
  const parsed = defineWorker({
    name: "parsed",
    on: "message.received",
    async handle(event, ctx) {
      await pipeline.spool.putParsed(event.message, {
        ...emptyParsedMessage([]),
        subject: `about ${ctx.manifest.size}`,
      });
      ctx.emit("message.parsed", { unparsed: false, defects: [] });
    },
  });
  const store = storeWorker({ mailstore, spool: pipeline.spool, concurrency: 32 });
  store.retry = { firstDelay: 20, maxDelay: 50, jitter: 0.5 };
  const running = await Promise.all([startWorker(parsed, pipeline), startWorker(store, pipeline)]);
  intake = await openIntake(redis.url, log);
  stop = async () => {
    await Promise.all(running.map((each) => each.stop()));
  };
});
after(async () => {
  await stop();
  await intake.close();
  await pipeline.close();
  mailstore.close();
  await redis.stop();
  await rm(folder, { recursive: true });
});

const accept = (body: Buffer) => acceptInto(intake, body);

test("small and large bodies are in the mail store, octet for octet, and gone from the spool", async () => {
  const bodies = [1, 1_000, 200_000, 300_000, 3_000_000].map((size) => randomBytes(size));
  const ids = await Promise.all(bodies.map(accept));
  await until(async () => (await pipeline.ledger.openCount()) === 0);
  for (const [i, id] of ids.entries()) {
    assert.deepEqual(await mailstore.read(id), bodies[i]);
    assert.equal(mailstore.summary(id)?.subject, `about ${bodies[i]?.length}`);
    assert.ok(!(await pipeline.spool.has(id)));
    assert.equal(await pipeline.spool.parsed(id), undefined);
  }
});

test("a job that runs again after its message was stored stores nothing twice, and the message ends", async () => {
  const id = await accept(Buffer.from("again"));
  await until(() => mailstore.has(id));
  await until(async () => (await pipeline.ledger.openCount()) === 0);
  const unit = { v: 1 as const, event: "message.parsed", at: Date.now(), data: {}, attempts: 0 };
  await pipeline.redis.set(`millrace:{0}:manifest:${id}`, JSON.stringify(mailstore.manifest(id)));
  await pipeline.ledger.reopen(id, new Map([["store/message.parsed", unit]]));
  await pipeline.queues.wake({ message: id, unit: "store/message.parsed" });
  await until(async () => (await pipeline.ledger.openCount()) === 0);
  assert.equal(mailstore.list().filter((each) => each.id === id).length, 1);
});

test("a mail store that cannot be written to keeps the body in the spool, and is tried again", async () => {
  const blobs = join(folder, "mail/blobs");
  await rename(blobs, `${blobs}.aside`);
  await writeFile(blobs, "a file where a folder should be");
  const id = await accept(Buffer.from("patience"));
  await until(async () => (await pipeline.journal.of(id)).some(({ event }) => event === "job.deferred"));
  assert.ok(await pipeline.spool.has(id));
  assert.ok(!mailstore.has(id));
  await rm(blobs);
  await rename(`${blobs}.aside`, blobs);
  await until(() => mailstore.has(id));
  assert.equal((await mailstore.read(id)).toString(), "patience");
});

test("the journal moves to the mail store, each entry once, and leaves Redis", async () => {
  const id = await accept(Buffer.from("told"));
  await until(() => mailstore.has(id));
  await until(async () => (await pipeline.ledger.openCount()) === 0);
  const before = await pipeline.journal.of(id);
  const stopArchiving = startArchiving(redis.url, mailstore, log);
  await until(async () => (await pipeline.journal.length()) === 0);
  await stopArchiving();
  assert.deepEqual(mailstore.journal(id), before);
  // Entries given twice, as after a crash between archiving and trimming.
  mailstore.archive(before);
  assert.deepEqual(mailstore.journal(id), before);
});
