import assert from "node:assert/strict";
import { once } from "node:events";
import { after, before, test } from "node:test";
import { failFastRedis } from "@millrace/service";
import { startRedis, type TestRedis } from "@millrace/test/redis";
import { until } from "@millrace/test/until";
import { failedAttempts } from "./index.ts";

let server: TestRedis;
const clients: ReturnType<typeof failFastRedis>[] = [];
before(async () => {
  server = await startRedis();
});
after(async () => {
  for (const redis of clients) redis.disconnect();
  await server?.stop();
});

async function edge(limits: Partial<Parameters<typeof failedAttempts>[1]> = {}) {
  const redis = failFastRedis(server.url);
  clients.push(redis);
  await once(redis, "ready");
  return { redis, attempts: failedAttempts(redis, { perClient: 3, perUser: 4, window: 600, ...limits }) };
}

test("failures of an address count at every edge, those of an IPv6 network together", async () => {
  const [one, other] = await Promise.all([edge(), edge()]);
  for (const [i, { attempts }] of [one, other, one].entries()) {
    assert.equal(await attempts.exceeded("192.0.2.1", "new"), undefined);
    await attempts.failed("192.0.2.1", `address-${i}`);
  }
  for (const { attempts } of [one, other]) {
    assert.equal(await attempts.exceeded("192.0.2.1", "new"), "client");
    assert.equal(await attempts.exceeded("::ffff:192.0.2.1", "new"), "client");
    assert.equal(await attempts.exceeded("192.0.2.2", "new"), undefined);
  }
  for (const last of ["::1", "::2", ":ffff::3"])
    await one.attempts.failed(`2001:db8:0:1${last}`, `net-${last}`);
  assert.equal(await other.attempts.exceeded("2001:db8:0:1::4", "new"), "client");
  assert.equal(await other.attempts.exceeded("2001:db8:0:2::4", "new"), undefined);
});

test("failures of a user count from every address, until one attempt succeeds; the address's stay", async () => {
  const { attempts, redis } = await edge();
  for (let i = 0; i < 4; i++) await attempts.failed(`198.51.100.${i}`, i % 2 ? "Ann" : "ann");
  assert.equal(await attempts.exceeded("203.0.113.1", "ANN"), "user");
  assert.equal(await attempts.exceeded("203.0.113.1", "bob"), undefined);
  await attempts.succeeded("ann");
  assert.equal(await attempts.exceeded("203.0.113.1", "ann"), undefined);
  for (let i = 0; i < 3; i++) await attempts.failed("203.0.113.9", "ann");
  await attempts.succeeded("ann");
  assert.equal(await attempts.exceeded("203.0.113.9", "ann"), "client");
  assert.deepEqual(
    (await redis.keys("*")).filter((key) => /ann/i.test(key)),
    [],
  );
});

test("failures are forgotten after the window, however many more are tried", async () => {
  const { attempts } = await edge({ perClient: 1, window: 1 });
  await attempts.failed("192.0.2.50", "x");
  assert.equal(await attempts.exceeded("192.0.2.50", "y"), "client");
  await until(async () => !(await attempts.exceeded("192.0.2.50", "y")));
});

test("a Redis that is away, or answers with an error, is no permission", async () => {
  const { attempts, redis } = await edge();
  const [key] = await redis.keys("millrace:auth:client:192.0.2.1");
  await redis.del(key as string);
  await redis.hset(key as string, "not", "a number");
  await assert.rejects(attempts.exceeded("192.0.2.1", "z"));
  await server.kill();
  await assert.rejects(attempts.exceeded("192.0.2.77", "z"));
  await assert.rejects(attempts.failed("192.0.2.77", "z"));
});
