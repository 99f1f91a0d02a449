import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { createLogger, patientRedis } from "@millrace/service";
import { spooledKey } from "@millrace/spool";
import { startRedis, type TestRedis } from "@millrace/test/redis";
import { until } from "@millrace/test/until";
import type { Redis } from "ioredis";
import { reportDisk } from "./disk-report.ts";
import { diskKey } from "./keys.ts";
import { memoryRoom } from "./memory-room.ts";
import { type Pressure, readPressure, watchPressure } from "./pressure.ts";
import { defaultPressure } from "./pressure-marks.ts";
import { Snooze } from "./worker.ts";

const mib = 1_048_576;
let server: TestRedis;
let redis: Redis;
let pressure: Pressure | undefined;
let lines: { msg: string; mark?: string; says?: string; cure?: string }[];

beforeEach(async () => {
  server = await startRedis();
  redis = patientRedis(server.url);
  lines = [];
});
afterEach(async () => {
  pressure?.close();
  redis.disconnect();
  await server.stop();
});

const log = createLogger("test", "info", { write: (text: string) => void lines.push(JSON.parse(text)) });

async function watch(settings: Partial<typeof defaultPressure> = {}): Promise<Pressure> {
  pressure = watchPressure(redis, { ...defaultPressure, ...settings }, log);
  await pressure.look();
  return pressure;
}

/** Fills Redis's memory up to a share of its `maxmemory`, in pieces that an allocator does not round up. */
async function fillTo(share: number): Promise<void> {
  for (let i = 0; ; i++) {
    const info = await redis.info("memory");
    const figure = (name: string) => Number(new RegExp(`^${name}:(\\d+)`, "m").exec(info)?.[1]);
    if (figure("used_memory") >= share * figure("maxmemory")) return;
    await redis.setrange(`filling:${share}:${i}`, 250_000, "x");
  }
}

async function empty(share: number): Promise<void> {
  await redis.del(await redis.keys(`filling:${share}:*`));
}

test("memory above its high mark keeps new mail out until it is below the low one; each is said once", async () => {
  await redis.config("SET", "maxmemory", 50 * mib);
  const { full, exhausted, look } = await watch();
  await fillTo(0.68);
  await look();
  assert.equal(full(), undefined);
  await fillTo(0.71);
  await look();
  assert.match(full() ?? "", /^Redis uses 3\d MiB, 7\d % of maxmemory \(50 MiB\); the mark is 70 %$/);
  assert.equal(exhausted(), undefined, "what is under way may end");
  await fillTo(0.87);
  await look();
  assert.match(exhausted() ?? "", /8\d % of maxmemory/);
  await empty(0.87);
  await look();
  assert.equal(exhausted(), undefined);
  await redis.config("SET", "maxmemory", 55 * mib);
  await look();
  assert.match(full() ?? "", /6\d % of maxmemory/, "between the marks it stays as it was");
  await redis.flushall();
  await look();
  assert.equal(full(), undefined);
  assert.deepEqual(
    lines.map(({ msg, mark }) => [msg, mark]),
    [
      ["refusing new mail with 452", "memory"],
      ["below its low mark again", "memory"],
    ],
  );
  assert.match(lines[0]?.cure ?? "", /REDIS_MAX_MEMORY_MB/);
});

test("what was written since the last look counts before the next one", async () => {
  await redis.config("SET", "maxmemory", 100 * mib);
  const { full, exhausted, wrote, look } = await watch();
  wrote(40 * mib);
  assert.equal(full(), undefined);
  wrote(20 * mib);
  assert.match(full() ?? "", /maxmemory/);
  wrote(20 * mib);
  assert.match(exhausted() ?? "", /maxmemory/);
  // It never came to be in Redis: the next look knows.
  await look();
  assert.equal(exhausted(), undefined);
  assert.equal(full(), undefined);
});

test("without a maxmemory the machine's memory is the limit", async () => {
  const { full, wrote } = await watch();
  wrote(100 * mib);
  assert.equal(full(), undefined);
  wrote(1e15);
  assert.match(full() ?? "", /of its machine's memory/);
});

test("the backlog keeps new mail out from its limit until it is below four fifths of it", async () => {
  const { full, look } = await watch({ MAX_BACKLOG_MESSAGES: 10 });
  const key = spooledKey("{0}");
  for (let i = 0; i < 9; i++) await redis.zadd(key, i, `m${i}`);
  await look();
  assert.equal(full(), undefined);
  await redis.zadd(key, 9, "m9");
  await look();
  assert.equal(full(), "10 messages wait to be stored; the mark is 10");
  await redis.zpopmin(key, 2);
  await look();
  assert.ok(full(), "8 are not below four fifths of 10");
  await redis.zpopmin(key, 1);
  await look();
  assert.equal(full(), undefined);
});

test("a disk without room keeps new mail out while somebody reports it; a silent store is no reason", async () => {
  const { full, look } = await watch();
  const failures: Error[] = [];
  const report = (minFree: number) =>
    reportDisk(redis, { name: "mail", folder: "/", minFree }, (error) => failures.push(error));
  report(1e18)();
  await until(async () => (await redis.exists(diskKey("mail"))) === 1);
  await look();
  assert.match(full() ?? "", /^\/ has [\d,]+ MiB free; needed are /);
  const status = await readPressure(redis, defaultPressure);
  assert.equal(status.reasons.length, 1);
  assert.equal(status.disks[0]?.folder, "/");
  assert.ok((await redis.pttl(diskKey("mail"))) > 0, "it expires by itself");
  await redis.del(diskKey("mail"));
  await look();
  assert.equal(full(), undefined);
  report(1)();
  await until(async () => (await redis.exists(diskKey("mail"))) === 1);
  await look();
  assert.equal(full(), undefined);
  assert.deepEqual(failures, []);
});

test("what waits for the disk counts as used on it", async () => {
  const { full, look } = await watch();
  const stop = reportDisk(redis, { name: "mail", folder: "/", minFree: 1 }, () => {});
  await until(async () => (await redis.exists(diskKey("mail"))) === 1);
  stop();
  const report = JSON.parse((await redis.get(diskKey("mail"))) ?? "");
  await redis.set(diskKey("mail"), JSON.stringify({ ...report, freeBytes: 5 * mib, minFreeBytes: 4 * mib }));
  await redis.setrange("body", 10 * mib, "x");
  await look();
  assert.match(full() ?? "", /has 5 MiB free; needed are 4 MiB, and 1\d MiB for what Redis holds/);
});

test("a worker that fills Redis waits near its end, and goes on when there is room", async () => {
  await redis.config("SET", "maxmemory", 50 * mib);
  const room = memoryRoom(redis, log);
  const { signal } = new AbortController();
  (await room.take(1_000, signal))();
  await fillTo(0.95);
  await sleep(150);
  let got = false;
  const waiting = room.take(1_000, signal).then((release) => {
    got = true;
    return release;
  });
  const aborted = new AbortController();
  const given = room.take(1_000, aborted.signal);
  aborted.abort(new Snooze(1));
  await assert.rejects(given, Snooze);
  await sleep(500);
  assert.equal(got, false);
  await redis.flushall();
  (await waiting)();
});

test("room is promised once: two large ones do not both get what is there for one", async () => {
  await redis.config("SET", "maxmemory", 50 * mib);
  const room = memoryRoom(redis, log);
  const { signal } = new AbortController();
  const release = await room.take(30 * mib, signal);
  let second = false;
  const waiting = room.take(30 * mib, signal).then((give) => {
    second = true;
    return give;
  });
  await sleep(500);
  assert.equal(second, false);
  release();
  (await waiting)();
});
