import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { patientRedis } from "@millrace/service";
import { startRedis, type TestRedis } from "@millrace/test/redis";
import { until } from "@millrace/test/until";
import { type LimitName, type LimitSettings, type Limits, openLimits } from "./index.ts";

let server: TestRedis;
let watcher: ReturnType<typeof patientRedis>;
before(async () => {
  server = await startRedis();
  watcher = patientRedis(server.url);
});
after(async () => {
  watcher?.disconnect();
  await server?.stop();
});

const off: LimitSettings = {
  SMTP_LIMIT_CONNECTIONS_PER_CLIENT: 0,
  SMTP_LIMIT_CONNECTIONS_PER_CLIENT_PER_MINUTE: 0,
  SMTP_LIMIT_MESSAGES_PER_CLIENT: 0,
  SMTP_LIMIT_RECIPIENTS_PER_CLIENT: 0,
  SMTP_LIMIT_CLIENT_SECONDS: 60,
  SMTP_LIMIT_MESSAGES_PER_USER: 0,
  SMTP_LIMIT_RECIPIENTS_PER_USER: 0,
  SMTP_LIMIT_USER_SECONDS: 3_600,
};

/** As many edges with these limits, which begin with nothing counted. */
async function edges(
  t: { after(end: () => Promise<void>): void },
  settings: Partial<LimitSettings>,
  count = 1,
): Promise<Limits[]> {
  await watcher.flushall();
  const all = await Promise.all(
    Array.from({ length: count }, () => openLimits(server.url, { ...off, ...settings })),
  );
  t.after(async () => void (await Promise.all(all.map((each) => each?.close()))));
  return all.filter((each) => each !== undefined);
}

/** Asks so many times, in turn at each edge. */
async function times(
  count: number,
  limits: Limits[],
  ask: (limits: Limits, i: number) => ReturnType<Limits["message"]>,
): Promise<(LimitName | undefined)[]> {
  const answers: (LimitName | undefined)[] = [];
  for (let i = 0; i < count; i++) answers.push(await ask(limits[i % limits.length] as Limits, i));
  return answers;
}

test("nothing set, nothing opened; nobody to ask, no promise", async (t) => {
  assert.equal(await openLimits("redis://127.0.0.1:1", off), undefined);
  const [limits] = (await edges(t, { SMTP_LIMIT_MESSAGES_PER_USER: 1 })) as [Limits];
  assert.equal(limits.message("192.0.2.1", undefined), undefined);
  assert.equal(limits.recipient("192.0.2.1", "ann"), undefined);
  assert.equal(limits.connected("192.0.2.1", "a"), undefined);
  assert.ok(limits.message("192.0.2.1", "ann") instanceof Promise);
});

test("messages and recipients of a client count at all edges, those of an IPv6 network together", async (t) => {
  const all = await edges(t, { SMTP_LIMIT_MESSAGES_PER_CLIENT: 3, SMTP_LIMIT_RECIPIENTS_PER_CLIENT: 2 }, 2);
  const messages = await times(5, all, ({ message }) => message("192.0.2.1", undefined));
  assert.deepEqual(messages, [undefined, undefined, undefined, "client_messages", "client_messages"]);
  const recipients = await times(3, all, ({ recipient }, i) => recipient(`2001:db8::${i}`, undefined));
  assert.deepEqual(recipients, [undefined, undefined, "client_recipients"]);
  assert.deepEqual(await times(1, all, ({ recipient }) => recipient("2001:db8:0:1::1", undefined)), [
    undefined,
  ]);
  assert.deepEqual(await times(1, all, ({ message }) => message("::ffff:192.0.2.1", undefined)), [
    "client_messages",
  ]);
});

test("those of a user count from every address, in upper and lower case", async (t) => {
  const all = await edges(t, { SMTP_LIMIT_MESSAGES_PER_USER: 2, SMTP_LIMIT_RECIPIENTS_PER_USER: 2 }, 2);
  for (const [what, limit] of [
    ["message", "user_messages"],
    ["recipient", "user_recipients"],
  ] as const) {
    const answers = await times(3, all, (limits, i) => limits[what](`192.0.2.${i}`, i ? "ann" : "Ann"));
    assert.deepEqual(answers, [undefined, undefined, limit]);
  }
  assert.equal(await all[0]?.message("192.0.2.1", "bob"), undefined);
  assert.deepEqual(
    (await watcher.keys("*")).filter((key) => /ann/i.test(key)),
    [],
  );
});

test("what an address may not send costs its user nothing", async (t) => {
  const settings = { SMTP_LIMIT_MESSAGES_PER_CLIENT: 1, SMTP_LIMIT_MESSAGES_PER_USER: 3 };
  const all = await edges(t, settings);
  const crowded = await times(20, all, ({ message }) => message("192.0.2.1", "ann"));
  assert.deepEqual([...new Set(crowded)], [undefined, "client_messages"]);
  assert.deepEqual(await times(3, all, ({ message }, i) => message(`198.51.100.${i}`, "ann")), [
    undefined,
    undefined,
    "user_messages",
  ]);
});

test("they are forgotten after their time, however many more are tried", async (t) => {
  const all = await edges(t, { SMTP_LIMIT_MESSAGES_PER_CLIENT: 1, SMTP_LIMIT_CLIENT_SECONDS: 1 }, 2);
  assert.equal(await all[0]?.message("192.0.2.1", undefined), undefined);
  assert.equal(await all[1]?.message("192.0.2.1", undefined), "client_messages");
  await until(async () => !(await all[1]?.message("192.0.2.1", undefined)));
});

test("a count that would last longer than its time, as when the clock was set back, refuses nobody", async (t) => {
  const all = await edges(t, { SMTP_LIMIT_MESSAGES_PER_CLIENT: 1 });
  await watcher.set("millrace:limits:client_messages:192.0.2.1", 100, "EX", 365 * 86_400);
  assert.deepEqual(await times(3, all, ({ message }) => message("192.0.2.1", undefined)), [
    ...[undefined, undefined],
    "client_messages",
  ]);
});

test("connections a minute count, refused ones too; such a one leaves no place taken", async (t) => {
  const settings = {
    SMTP_LIMIT_CONNECTIONS_PER_CLIENT: 2,
    SMTP_LIMIT_CONNECTIONS_PER_CLIENT_PER_MINUTE: 4,
  };
  const all = await edges(t, settings, 2);
  const answers = await times(6, all, ({ connected }, i) => connected("192.0.2.1", String(i)));
  assert.deepEqual(answers, [
    ...[undefined, undefined, "connections", "connections"],
    ...["connection_rate", "connection_rate"],
  ]);
  all[0]?.disconnected("192.0.2.1", "0");
  all[1]?.disconnected("192.0.2.1", "1");
  await until(async () => (await watcher.zcard("millrace:limits:connections:192.0.2.1")) === 0);
});

test("a flood is answered from memory", async (t) => {
  const all = await edges(t, { SMTP_LIMIT_MESSAGES_PER_CLIENT: 1 });
  await times(2, all, ({ message }) => message("192.0.2.1", undefined));
  const figures = async () => /cmdstat_evalsha:calls=(\d+)/.exec(await watcher.info("commandstats"))?.[1];
  const before = await figures();
  await times(50, all, ({ message }) => message("192.0.2.1", undefined));
  assert.ok(before);
  assert.equal(await figures(), before);
});

test("a Redis that is frozen or dead answers nothing, soon; when it is back, it does", async (t) => {
  const settings = { SMTP_LIMIT_MESSAGES_PER_CLIENT: 1_000, SMTP_LIMIT_CONNECTIONS_PER_CLIENT: 1_000 };
  const [limits] = (await edges(t, settings)) as [Limits];
  server.freeze();
  for (const question of [limits.message("192.0.2.1", undefined), limits.connected("192.0.2.1", "a")])
    await assert.rejects(question as Promise<unknown>);
  server.thaw();
  await server.kill();
  await assert.rejects(limits.message("192.0.2.1", undefined) as Promise<unknown>);
  await server.start();
  const deadline = Date.now() + 30_000;
  for (;;) {
    try {
      assert.equal(await limits.message("192.0.2.1", undefined), undefined);
      break;
    } catch {
      assert.ok(Date.now() < deadline, "Redis is back, and not asked");
      await sleep(50);
    }
  }
});
