import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { newMessageId, TemporaryFailure } from "@millrace/mail";
import { defaultParseLimits, parseMessage } from "@millrace/mime";
import { patientRedis } from "@millrace/service";
import { NotSpooled, redisSpool, type Spool, spoolKeys } from "@millrace/spool";
import { corpus } from "@millrace/test/corpus";
import { startRedis, type TestRedis } from "@millrace/test/redis";
import { openParseThreads, ParserGaveUp, type ParseThreads, type ThreadOptions } from "./parse-threads.ts";
import { spooled } from "./testing/spooled.ts";

let server: TestRedis;
let redis: ReturnType<typeof patientRedis>;
let spool: Spool;
/** The real threads, and those that poison works on: starting them is what takes most time here. */
let real: ParseThreads;
let threads: ParseThreads;
const timeout = 1_500;
const opened: ParseThreads[] = [];

before(async () => {
  server = await startRedis();
  redis = patientRedis(server.url);
  spool = redisSpool(redis);
  real = open();
  threads = poisoned();
});
after(async () => {
  await Promise.all(opened.map((threads) => threads.close()));
  redis.disconnect();
  await server.stop();
});

function open(options: Partial<ThreadOptions> = {}): ParseThreads {
  const threads = openParseThreads({
    redisUrl: server.url,
    spool,
    threads: 2,
    timeout,
    heapMb: 128,
    limits: defaultParseLimits,
    ...options,
  });
  opened.push(threads);
  return threads;
}
const poisoned = (options: Partial<ThreadOptions> = {}) =>
  open({ file: new URL("./testing/poison-thread.ts", import.meta.url), ...options });
const poison = (kind: string) => spooled(spool, `X-Poison: ${kind}\r\nFrom: a@example.com\r\n\r\nwords`);
const sound = () => spooled(spool, "From: a@example.com\r\nSubject: sound\r\n\r\nwords");

test("a message of the spool is parsed into the spool", async () => {
  const id = await sound();
  assert.deepEqual(await real.parse(id, 100), ["date-missing"]);
  const parsed = await spool.parsed(id);
  assert.deepEqual([parsed?.subject, parsed?.text], ["sound", "words"]);
});

test("a large message streams", async () => {
  const body = `From: a@example.com\r\nContent-Type: application/pdf\r\n\r\n${"x".repeat(5_000_000)}`;
  const id = await spooled(spool, body);
  await real.parse(id, body.length);
  assert.equal((await spool.parsed(id))?.attachments[0]?.size, 5_000_000);
});

test("a message that is not there is just that, read whole or as a stream", async () => {
  for (const size of [100, 5_000_000]) {
    await assert.rejects(real.parse(newMessageId(), size), (error) => error instanceof NotSpooled);
  }
});

test("trouble with the spool is worth another try, and no fault of the message", async () => {
  const id = newMessageId();
  await redis.set(spoolKeys(id).chunks, "not a list");
  await assert.rejects(real.parse(id, 100), (error) => {
    assert.ok(error instanceof TemporaryFailure);
    return /WRONGTYPE/.test(error.message);
  });
});

for (const kind of ["loop", "hang"]) {
  test(`a message that makes the parser ${kind} is cut off at the time-out, and holds up no other`, async () => {
    const bad = threads.parse(await poison(kind), 100);
    const outcome = assert.rejects(bad, (error) => {
      assert.ok(error instanceof ParserGaveUp);
      assert.equal(error.message, "time: more than 1.5 s");
      return true;
    });
    let others = 0;
    const parsing = Array.from({ length: 20 }, async () => {
      await threads.parse(await sound(), 100);
      others++;
    });
    await Promise.all(parsing);
    assert.equal(others, 20);
    await outcome;
    // The thread that was ended has a successor.
    await Promise.all([threads.parse(await sound(), 100), threads.parse(await sound(), 100)]);
  });
}

test("those that came together with a slow message do not wait for its time-out", async () => {
  const patient = poisoned({ timeout: 20_000 });
  await patient.parse(await sound(), 100);
  // The first ones find a free thread each; the others wait for one and go together.
  const [bad, ...good] = await Promise.all([poison("hang"), ...Array.from({ length: 40 }, sound)]);
  const before = good.slice(0, 10).map((id) => patient.parse(id, 100));
  let given = false;
  patient.parse(bad, 100).catch(() => {
    given = true;
  });
  const others = [...before, ...good.slice(10).map((id) => patient.parse(id, 100))];
  await Promise.all(others);
  assert.equal(given, false);
  await patient.close();
});

for (const kind of ["throw", "exit"]) {
  test(`those that were in a batch with a message that makes its thread ${kind} are parsed`, async () => {
    const ids = await Promise.all([
      ...Array.from({ length: 5 }, sound),
      poison(kind),
      ...Array.from({ length: 20 }, sound),
      poison(kind),
    ]);
    const ends = await Promise.allSettled(ids.map((id) => threads.parse(id, 100)));
    const failed = ends.flatMap(({ status }, index) => (status === "rejected" ? [index] : []));
    assert.deepEqual(failed, [5, 26]);
    for (const id of ids.filter((_, index) => !failed.includes(index))) {
      assert.equal((await spool.parsed(id))?.subject, "sound");
    }
  });
}

test("all threads poisoned at once: the next message waits for the time-out and no longer", async () => {
  const bad = await Promise.allSettled([
    threads.parse(await poison("loop"), 100),
    threads.parse(await poison("loop"), 100),
    threads.parse(await poison("loop"), 100),
    threads.parse(await sound(), 100),
  ]);
  assert.deepEqual(
    bad.map(({ status }) => status),
    ["rejected", "rejected", "rejected", "fulfilled"],
  );
});

test("a message that eats the heap ends its thread, not the process", async () => {
  const small = poisoned({ heapMb: 40, timeout: 30_000 });
  const [bad, good] = await Promise.allSettled([
    small.parse(await poison("heap"), 100),
    small.parse(await sound(), 100),
  ]);
  assert.equal(good.status, "fulfilled");
  assert.ok(bad.status === "rejected" && bad.reason instanceof ParserGaveUp, String(bad));
  assert.equal(bad.reason.message, "memory: more than 40 MiB");
  await small.parse(await sound(), 100);
});

test("an error nobody catches, or an exit, ends the thread and is the message's fault", async () => {
  for (const kind of ["throw", "exit"]) {
    await assert.rejects(threads.parse(await poison(kind), 100), (error) => {
      assert.ok(error instanceof ParserGaveUp, String(error));
      return /^crash: /.test(error.message);
    });
    await threads.parse(await sound(), 100);
  }
});

test("time that Redis takes is not the message's", async () => {
  const id = await sound();
  server.freeze();
  const parsing = real.parse(id, 100);
  const early = await Promise.race([
    parsing.then(String, String),
    new Promise((end) => setTimeout(end, 2 * timeout)),
  ]);
  server.thaw();
  assert.equal(early, undefined);
  assert.deepEqual(await parsing, ["date-missing"]);
});

test("a signal frees the thread at once, with its own reason", async () => {
  const controller = new AbortController();
  const bad = real.parse(await sound(), 100, controller.signal);
  controller.abort(new RangeError("stopping"));
  await assert.rejects(bad, (error) => error instanceof RangeError);
  await assert.rejects(
    real.parse(await sound(), 100, controller.signal),
    (error) => error instanceof RangeError,
  );
  await Promise.all([real.parse(await sound(), 100), real.parse(await sound(), 100)]);
});

test("close ends what is under way as worth another try", async () => {
  const closing = poisoned({ timeout: 30_000 });
  await closing.parse(await sound(), 100);
  const bad = closing.parse(await poison("loop"), 100);
  const outcome = assert.rejects(bad, (error) => error instanceof TemporaryFailure);
  await closing.close();
  await outcome;
  await assert.rejects(closing.parse(await sound(), 100), (error) => error instanceof TemporaryFailure);
});

test("every message of the corpus goes through: none lost, none stuck, none stops another", async (t) => {
  const messages = corpus();
  if (messages.length === 0) return t.skip("no corpus here");
  // A poisoned one among them now and then.
  const outcomes = await Promise.all(
    messages.map(async ({ name, raw }, index) => {
      const bad = index % 50 === 7 ? threads.parse(await poison("loop"), 100).catch(String) : undefined;
      const id = await spooled(spool, raw);
      await threads.parse(id, raw.length);
      assert.deepEqual(await spool.parsed(id), await parseMessage(raw), name);
      return bad;
    }),
  );
  const bad = outcomes.filter((outcome) => outcome !== undefined);
  assert.ok(
    bad.length >= 3 && bad.every((outcome) => /time: more than 1.5 s/.test(String(outcome))),
    String(bad),
  );
});
