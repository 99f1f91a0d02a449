import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import type { JournalEntry } from "@millrace/mail";
import { type Manifest, newMessageId, routeSchema, type Target } from "@millrace/mail";
import {
  defineWorker,
  type Intake,
  openIntake,
  openPipeline,
  type Pipeline,
  startWorker,
} from "@millrace/pipeline";
import { createLogger } from "@millrace/service";
import { startRedis, type TestRedis } from "@millrace/test/redis";
import { deliverWorker } from "./deliver-worker.ts";
import type { DeliveryRequest, RecipientOutcome, Transport } from "./transport.ts";

const log = createLogger("test", "silent");
/** What each target does at each attempt: the recipient's answer, by its local part. */
type Script = (request: DeliveryRequest) => RecipientOutcome[] | Promise<RecipientOutcome[]>;

const scripts = new Map<string, Script>();
const attempts: { label: string; recipients: string[]; attempt: number }[] = [];
const routes = [
  routeSchema.parse({ recipients: "*@one.test", to: { lmtp: "one:24" } }),
  routeSchema.parse({ recipients: "*@two.test", to: [{ lmtp: "two:24" }, { lmtp: "archive:24" }] }),
];
let redis: TestRedis;
let folder: string;
let pipeline: Pipeline;
let intake: Intake;
let stop: () => Promise<void>;

function scripted(target: Target): Transport {
  return {
    async deliver(request) {
      attempts.push({ label: target.label, recipients: request.recipients, attempt: request.attempt });
      const script = scripts.get(target.label);
      return script ? script(request) : request.recipients.map((recipient) => delivered(recipient));
    },
    async close() {},
  };
}
const delivered = (recipient: string): RecipientOutcome => ({
  recipient,
  result: "delivered",
  reply: "250 2.0.0 ok",
});

before(async () => {
  redis = await startRedis();
  folder = await mkdtemp(join(tmpdir(), "millrace-deliver-"));
  const paths = { data: folder, redis: folder, mail: `${folder}/mail`, maildir: folder };
  pipeline = await openPipeline({ redisUrl: redis.url, paths }, log);
  // Stands for parse and store: what counts here comes after them.
  const stored = defineWorker({
    name: "stored",
    on: "message.received",
    async handle(event, ctx) {
      await pipeline.spool.free([event.message]);
      ctx.emit("message.stored", {});
    },
  });
  const { worker } = deliverWorker({
    routes,
    concurrency: 20,
    targetConcurrency: 2,
    openTransport: scripted,
  });
  worker.retry = { ...worker.retry, firstDelay: 10, maxDelay: 20, attempts: 4 };
  const running = await Promise.all([startWorker(stored, pipeline), startWorker(worker, pipeline)]);
  intake = await openIntake(redis.url, log);
  stop = async () => {
    await Promise.all(running.map((each) => each.stop()));
  };
});
after(async () => {
  await stop();
  await intake.close();
  await pipeline.close();
  await redis.stop();
  await rm(folder, { recursive: true });
});

async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = Date.now() + 20_000;
  while (!(await condition())) {
    if (Date.now() > deadline) throw new Error(`never: ${condition}`);
    await sleep(10);
  }
}

async function accept(recipients: string[]): Promise<string> {
  await until(() => intake.unavailable() === undefined);
  const id = newMessageId();
  const manifest: Manifest = {
    ...{ v: 1, id, receivedAt: Date.now(), size: 1, sha256: "0".repeat(64), receivedFieldSize: 0 },
    envelope: {
      ...{ from: "a@b.test", recipients, smtputf8: false, body: null, helo: "h", protocol: "ESMTP" },
      ...{ tls: null, user: null, client: { ip: "127.0.0.1", port: 1 } },
    },
  };
  const draft = intake.draft(id);
  await draft.write(Buffer.from("x"));
  await intake.accept(draft, manifest);
  return id;
}

/** Waits for the message's end and returns what the journal says of its deliveries. */
async function ending(id: string): Promise<JournalEntry[]> {
  await until(
    async () => (await pipeline.journal.of(id)).length > 1 && (await pipeline.ledger.unitsOf(id)).size === 0,
  );
  return (await pipeline.journal.of(id)).filter(({ event }) => /^(delivery|job\.dead)/.test(event));
}
const words = (entries: JournalEntry[]) =>
  entries.map(({ event, data }) => `${event} ${data.label} ${data.recipients}`);

test("one target is delivered to at once, without a job of its own", async () => {
  const id = await accept(["a@one.test", "b@one.test"]);
  assert.deepEqual(words(await ending(id)), ["delivery.succeeded lmtp:one:24 a@one.test,b@one.test"]);
});

test("several targets have a job each, and every one is told of", async () => {
  const id = await accept(["a@one.test", "b@two.test"]);
  assert.deepEqual(words(await ending(id)).sort(), [
    "delivery.requested lmtp:archive:24 b@two.test",
    "delivery.requested lmtp:one:24 a@one.test",
    "delivery.requested lmtp:two:24 b@two.test",
    "delivery.succeeded lmtp:archive:24 b@two.test",
    "delivery.succeeded lmtp:one:24 a@one.test",
    "delivery.succeeded lmtp:two:24 b@two.test",
  ]);
});

test("who was delivered to is not delivered to again; who was deferred is; who failed is a dead letter in the end", async () => {
  scripts.set("lmtp:one:24", ({ recipients, attempt }) =>
    recipients.map((recipient) => {
      if (recipient.startsWith("never"))
        return { recipient, result: "failed", reply: "550 5.1.1 unknown", code: "550" };
      if (recipient.startsWith("later") && attempt < 3)
        return { recipient, result: "deferred", reply: "450 4.2.1 busy", code: "450" };
      return delivered(recipient);
    }),
  );
  attempts.length = 0;
  const id = await accept(["now@one.test", "later@one.test", "never@one.test"]);
  const entries = await ending(id);
  scripts.clear();
  assert.deepEqual(
    attempts.map(({ recipients }) => recipients),
    [["now@one.test", "later@one.test", "never@one.test"], ["later@one.test"], ["later@one.test"]],
  );
  assert.deepEqual(words(entries), [
    "delivery.succeeded lmtp:one:24 now@one.test",
    "delivery.deferred lmtp:one:24 later@one.test",
    "delivery.failed lmtp:one:24 never@one.test",
    "delivery.deferred lmtp:one:24 later@one.test",
    "delivery.succeeded lmtp:one:24 later@one.test",
    "job.dead lmtp:one:24 never@one.test",
  ]);
  assert.equal((entries.at(-1)?.data.failure as { reply: string } | undefined)?.reply, "550 5.1.1 unknown");
});

test("a target that never answers delays no other", async () => {
  const hanging: (() => void)[] = [];
  scripts.set("lmtp:one:24", async ({ recipients }) => {
    await new Promise<void>((resolve) => hanging.push(resolve));
    return recipients.map(delivered);
  });
  for (let i = 0; i < 60; i++) await accept([`${i}@one.test`]);
  await until(() => hanging.length === 2);
  const id = await accept(["a@two.test"]);
  const entries = await ending(id);
  assert.equal(entries.filter(({ event }) => event === "delivery.succeeded").length, 2);
  assert.equal(hanging.length, 2, "the hanging target has no more than its places");
  scripts.clear();
  for (const resolve of hanging) resolve();
});

test("recipients that no route takes any more end as a dead letter that says so", async () => {
  const id = await accept(["a@gone.test", "b@one.test"]);
  const entries = await ending(id);
  const dead = entries.find(({ event }) => event === "job.dead");
  assert.ok(dead);
  assert.deepEqual(dead.data.recipients, ["a@gone.test"]);
  assert.match((dead.data.failure as { message: string }).message, /no route leads a@gone.test/);
  assert.ok(words(entries).includes("delivery.succeeded lmtp:one:24 b@one.test"));
});
