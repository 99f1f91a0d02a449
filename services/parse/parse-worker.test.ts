import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { type MessageId, newMessageId } from "@millrace/mail";
import { defaultParseLimits } from "@millrace/mime";
import type { WorkerContext } from "@millrace/pipeline";
import {
  type Intake,
  type MemoryRoom,
  memoryRoom,
  openIntake,
  openPipeline,
  type Pipeline,
  type RunningWorker,
  startWorker,
} from "@millrace/pipeline/runtime";
import { createLogger } from "@millrace/service";
import { NotSpooled } from "@millrace/spool";
import { accept as acceptInto, manifestOf } from "@millrace/test/message";
import { startRedis, type TestRedis } from "@millrace/test/redis";
import { openParseThreads, type ParseThreads } from "./parse-threads.ts";
import { parseWorker } from "./parse-worker.ts";
import { spooled } from "./testing/spooled.ts";

const log = createLogger("test", "silent");
const concurrency = 4;
let server: TestRedis;
let folder: string;
let pipeline: Pipeline;
let intake: Intake;
let threads: ParseThreads;
let room: MemoryRoom;
let running: RunningWorker;

before(async () => {
  server = await startRedis();
  folder = await mkdtemp(join(tmpdir(), "millrace-parse-"));
  const paths = { data: folder, redis: folder, mail: join(folder, "mail"), maildir: folder };
  pipeline = await openPipeline({ redisUrl: server.url, paths }, log);
  threads = openParseThreads({
    redisUrl: server.url,
    spool: pipeline.spool,
    threads: 2,
    timeout: 1_500,
    heapMb: 128,
    limits: defaultParseLimits,
    file: new URL("./testing/poison-thread.ts", import.meta.url),
  });
  room = memoryRoom(pipeline.redis, log);
  running = await startWorker(parseWorker({ threads, spool: pipeline.spool, room, concurrency }), pipeline);
  intake = await openIntake(server.url, log);
});
after(async () => {
  await running.stop();
  await threads.close();
  await intake.close();
  await pipeline.close();
  await server.stop();
  await rm(folder, { recursive: true });
});

const accept = (text: string) => acceptInto(intake, text);

/** What the worker said of a message, once it has. */
async function outcomeOf(id: MessageId): Promise<Record<string, unknown>> {
  for (;;) {
    const entry = (await pipeline.journal.of(id)).find(({ event }) => event !== "message.received");
    if (entry) {
      assert.equal(entry.event, "message.parsed");
      return entry.data;
    }
    await sleep(10);
  }
}

/** The worker's handler by itself, on a message of the spool. */
async function handle(id: MessageId, given: Partial<WorkerContext> = {}): Promise<Record<string, unknown>[]> {
  const emitted: Record<string, unknown>[] = [];
  const manifest = manifestOf(Buffer.from("x"), {}, id);
  const ctx: WorkerContext = {
    ...{
      message: id,
      manifest,
      envelope: manifest.envelope,
      log,
      attempt: 1,
      crashes: 0,
      idempotencyKey: id,
    },
    signal: new AbortController().signal,
    config: undefined,
    raw: () => pipeline.spool.open(id),
    read: () => pipeline.spool.read(id),
    parsed: notAskedFor,
    attachments: notAskedFor,
    attachment: notAskedFor,
    once: notAskedFor,
    snooze: notAskedFor,
    emit: (event, data) => void emitted.push({ event, ...(data as object) }),
    progress: () => {},
    ...given,
  };
  const worker = parseWorker({ threads, spool: pipeline.spool, room, concurrency });
  await worker.handle({ name: "message.received", message: id, at: Date.now(), data: {} }, ctx);
  return emitted;
}

test("an accepted message is parsed and said to be", { timeout: 30_000 }, async () => {
  const id = await accept("From: a@example.com\r\nSubject: sound\r\n\r\nwords");
  assert.deepEqual(await outcomeOf(id), { unparsed: false, defects: ["date-missing"] });
  assert.equal((await pipeline.spool.parsed(id))?.text, "words");
});

test("messages the parser cannot do go on, flagged, and no other waits for them", {
  timeout: 60_000,
}, async () => {
  const bad = await Promise.all(
    ["loop", "heap", "throw"].map(async (kind) => ({
      kind,
      id: await accept(`From: a@example.com\r\nSubject: ${kind}\r\nX-Poison: ${kind}\r\n\r\nwords`),
    })),
  );
  const good = await Promise.all(
    Array.from({ length: 20 }, () => accept("From: a@example.com\r\n\r\nwords")),
  );
  for (const id of good) assert.equal((await outcomeOf(id)).unparsed, false);
  for (const { kind, id } of bad) {
    assert.deepEqual(await outcomeOf(id), { unparsed: true, defects: ["unparsed"] });
    const parsed = await pipeline.spool.parsed(id);
    assert.deepEqual([parsed?.subject, parsed?.from[0]?.address], [kind, "a@example.com"]);
    assert.match(parsed?.defects[0]?.detail ?? "", /^(time|memory|crash): /);
  }
});

test("a message that took two processes with it is not tried on the parser again", async () => {
  const id = await spooled(pipeline.spool, "Subject: sound\r\n\r\nwords");
  const emitted = await handle(id, { crashes: 3 });
  assert.deepEqual(emitted, [
    { event: "message.parsed", unparsed: true, defects: ["unparsed", "from-missing"] },
  ]);
  const parsed = await pipeline.spool.parsed(id);
  assert.deepEqual([parsed?.subject, parsed?.text], ["sound", ""]);
  assert.equal(parsed?.defects[0]?.detail, "crash: 3 processes died with this message in hand");
});

test("a body that is gone is the runtime's to judge", async () => {
  await assert.rejects(handle(newMessageId()), (error) => error instanceof NotSpooled);
  await assert.rejects(handle(newMessageId(), { crashes: 3 }), (error) => error instanceof NotSpooled);
});

function notAskedFor(): never {
  throw new Error("not asked for");
}
