import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, before, beforeEach, test } from "node:test";
import {
  emptyParsedMessage,
  type JournalEntry,
  type MessageId,
  newMessageId,
  type Route,
  routeSchema,
} from "@millrace/mail";
import { type MailStore, openMailStore } from "@millrace/mailstore";
import { startRedis, type TestRedis } from "@millrace/test/redis";
import { Redis } from "ioredis";
import { retain } from "./retention.ts";

const day = 86_400_000;
let server: TestRedis;
let redis: Redis;
let folder: string;
let mailstore: MailStore;
let entries: number;

before(async () => {
  server = await startRedis();
  redis = new Redis({ path: server.url.slice("unix://".length) });
});
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "millrace-retention-"));
  mailstore = openMailStore({ directory: folder });
  entries = 0;
});
afterEach(async () => {
  mailstore.close();
  await rm(folder, { recursive: true });
  await redis.flushall();
});
after(async () => {
  redis.disconnect();
  await server.stop();
});

const routes = (...list: { recipients: string; keep?: Route["keep"] }[]): Route[] =>
  list.map((route) => routeSchema.parse({ to: { maildir: "m" }, ...route }));

/** Stores a message as it would be some days after its acceptance. */
async function stored(days: number, to: string[], octets = 10, state = "succeeded"): Promise<MessageId> {
  const receivedAt = Date.now() - days * day;
  const id = newMessageId(receivedAt);
  // Ids of one process only grow, so the time is put in its place.
  const time = receivedAt;
  const own = `${crockford(time)}${id.slice(10)}`;
  await mailstore.put([
    {
      manifest: {
        ...{ v: 1, id: own, receivedAt, size: octets, sha256: "0".repeat(64), receivedFieldSize: 0 },
        envelope: {
          ...{ from: "a@b.test", recipients: to, smtputf8: false, body: null, helo: "h", protocol: "ESMTP" },
          ...{ tls: null, user: null, client: { ip: "127.0.0.1", port: 1 } },
        },
      },
      parsed: emptyParsedMessage([]),
      raw: Buffer.alloc(octets, "x"),
    },
  ]);
  const data = { target: "t", label: "t", recipients: to, reply: "so" };
  record(own, "message.received", {});
  if (state === "dead") {
    record(own, "job.dead", { ...data, job: "deliver/x", worker: "deliver", failure: { message: "no" } });
  } else if (state !== "stored") record(own, `delivery.${state}`, data);
  return own;
}

function record(message: MessageId, event: string, data: JournalEntry["data"]): void {
  mailstore.archive([{ seq: `1-${++entries}`, at: Date.now(), message, event, worker: "deliver", data }]);
}

function crockford(time: number): string {
  const digits = "0123456789abcdefghjkmnpqrstvwxyz";
  return Array.from({ length: 10 }, (_, i) => digits[Math.floor(time / 32 ** (9 - i)) % 32]).join("");
}

const left = () => new Set(mailstore.list({ limit: 1_000 }).map(({ id }) => id));

test("age: what is older than its route's days goes, to the hour", async () => {
  const [old, young, other] = [
    await stored(30.05, ["a@x.test"]),
    await stored(29.95, ["a@x.test"]),
    await stored(400, ["a@y.test"]),
  ];
  const rules = routes({ recipients: "*@x.test", keep: { days: 30 } }, { recipients: "*" });
  const dry = await retain({ routes: rules, mailstore, redis, dryRun: true });
  assert.deepEqual([dry.messages, left().size], [1, 3]);
  const summary = await retain({ routes: rules, mailstore, redis });
  assert.deepEqual(left(), new Set([young, other]));
  assert.ok(!mailstore.has(old));
  assert.deepEqual([summary.messages, summary.octets, summary.keptInFlight], [1, 10, 0]);
  assert.deepEqual(
    summary.routes.map(({ recipients, messages }) => [recipients, messages]),
    [[["*@x.test"], 1]],
  );
  assert.equal((await retain({ routes: rules, mailstore, redis })).messages, 0);
});

test("size: the newest that fit stay, the older ones go", async () => {
  const ids = [];
  for (let days = 10; days > 0; days--) ids.push(await stored(days, ["a@x.test"], 300_000));
  const foreign = await stored(20, ["a@y.test"], 900_000);
  const rules = routes({ recipients: "*@x.test", keep: { megabytes: 1 } }, { recipients: "*" });
  const summary = await retain({ routes: rules, mailstore, redis });
  assert.deepEqual(left(), new Set([...ids.slice(-3), foreign]));
  assert.deepEqual([summary.messages, summary.octets], [7, 2_100_000]);
});

test("a message of several routes stays as long as the one that keeps it longest", async () => {
  const rules = routes(
    { recipients: "*@short.test", keep: { days: 1 } },
    { recipients: "*@long.test", keep: { days: 100 } },
    { recipients: "*@ever.test" },
  );
  const short = await stored(2, ["a@short.test", "b@short.test", "gone@nowhere.test"]);
  const kept = [
    await stored(2, ["a@short.test", "a@long.test"]),
    await stored(2_000, ["a@short.test", "a@ever.test"]),
    await stored(2_000, ["gone@nowhere.test"]),
  ];
  const both = await stored(101, ["a@short.test", "a@long.test"]);
  const summary = await retain({ routes: rules, mailstore, redis });
  assert.deepEqual(left(), new Set(kept));
  assert.ok(!mailstore.has(short) && !mailstore.has(both));
  assert.deepEqual(
    summary.routes.map(({ messages }) => messages),
    [2, 1],
  );
});

test("what has not reached its end stays, in the store's eyes or the ledger's, and so do dead letters", async () => {
  const rules = routes({ recipients: "*", keep: { days: 1 } });
  const [waiting, deferred, dead, working, spooled, gone] = [
    await stored(9, ["a@x.test"], 10, "stored"),
    await stored(9, ["a@x.test"], 10, "deferred"),
    await stored(9, ["a@x.test"], 10, "dead"),
    await stored(9, ["a@x.test"]),
    await stored(9, ["a@x.test"]),
    await stored(9, ["a@x.test"]),
  ];
  // A worker of somebody's own is still at it; a body was not let go yet.
  await redis.zadd("millrace:{0}:open", Date.now(), working);
  await redis.zadd("millrace:{0}:spooled", Date.now(), spooled);
  const summary = await retain({ routes: rules, mailstore, redis });
  assert.deepEqual(left(), new Set([waiting, deferred, dead, working, spooled]));
  assert.ok(!mailstore.has(gone));
  assert.deepEqual([summary.messages, summary.keptInFlight, summary.keptDeadLetters], [1, 4, 1]);
  assert.equal((await retain({ routes: rules, mailstore, redis, withDeadLetters: true })).messages, 1);
  assert.ok(!mailstore.has(dead));
});

test("a route may let dead letters go; every route of the message has to", async () => {
  const keep = { days: 1, withDeadLetters: true };
  const rules = routes({ recipients: "*@a.test", keep }, { recipients: "*@b.test", keep: { days: 1 } });
  const one = await stored(9, ["x@a.test"], 10, "dead");
  const two = await stored(9, ["x@a.test", "x@b.test"], 10, "dead");
  await retain({ routes: rules, mailstore, redis });
  assert.deepEqual([mailstore.has(one), mailstore.has(two)], [false, true]);
});

test("an interrupted run has done a part, and the next one does the rest", async () => {
  for (let n = 0; n < 250; n++) await stored(5, ["a@x.test"]);
  const rules = routes({ recipients: "*", keep: { days: 1 } });
  const controller = new AbortController();
  const first = await retain({
    ...{ routes: rules, mailstore, redis, signal: controller.signal },
    progress: () => controller.abort(),
  });
  assert.equal(first.messages, 100);
  assert.equal((await retain({ routes: rules, mailstore, redis })).messages, 150);
  assert.equal(left().size, 0);
});
