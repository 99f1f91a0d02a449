import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { patientRedis } from "@millrace/service";
import { startRedis, type TestRedis } from "@millrace/test/redis";
import { beginMessage, startTestEdge, type TestEdge } from "./testing/test-edge.ts";

const mib = 1_048_576;
let server: TestRedis;
let redis: ReturnType<typeof patientRedis>;
let edge: TestEdge;
beforeEach(async () => {
  server = await startRedis(["--maxmemory", "64mb"]);
  redis = patientRedis(server.url);
  edge = await startTestEdge(server.url);
});
afterEach(async () => {
  await edge.end();
  redis.disconnect();
  await server.stop();
});

async function eventually(condition: () => boolean | Promise<boolean>, what: string): Promise<void> {
  for (const started = performance.now(); performance.now() - started < 20_000; await sleep(20)) {
    if (await condition()) return;
  }
  assert.fail(`it never came about that ${what}`);
}

const full = () => eventually(() => edge.intake.unavailable()?.why === "full", "the edge sees it");
const lineOctets = `${"x".repeat(76)}\r\n`;
const bodyOf = (octets: number) => Buffer.from(lineOctets.repeat(Math.ceil(octets / lineOctets.length)));
const draftKeys = async () => (await redis.keys("millrace:*:octets:*")).length;

test("above the mark MAIL gets 452 4.3.1, and 250 again once there is room", async () => {
  const client = await edge.client();
  await redis.setrange("filling", 50 * mib, "x");
  await full();
  await client.send("MAIL FROM:<a@example.org>");
  await client.expect("452 4.3.1 ");
  await redis.del("filling");
  await eventually(() => edge.intake.unavailable() === undefined, "there is room");
  await beginMessage(client);
  await client.send("x", ".");
  await client.expect("250 2.0.0 ");
  client.destroy();
});

test("filled up between MAIL and DATA: 452 after the final dot, and nothing stays", async () => {
  const client = await edge.client();
  await client.send("MAIL FROM:<a@example.org>", "RCPT TO:<user@example.com>");
  await client.expect("250 ");
  await client.expect("250 ");
  await redis.setrange("filling", 46 * mib, "x");
  await full();
  await client.send("DATA");
  await client.expect("354 ");
  await client.write(bodyOf(300_000));
  await client.send(".");
  await client.expect("452 4.3.1 ");
  assert.equal(await draftKeys(), 0);
  assert.equal((await edge.spool.backlog()).messages, 0);
  client.destroy();
});

test("what is under way when the mark is passed may end; beyond the second mark it may not", async () => {
  const client = await edge.client();
  await beginMessage(client);
  await client.write(bodyOf(300_000));
  await redis.setrange("filling", 46 * mib, "x");
  await full();
  await client.write(bodyOf(300_000));
  await client.send(".");
  await client.expect("250 2.0.0 ");

  await redis.del("filling");
  await eventually(() => edge.intake.unavailable() === undefined, "there is room");
  await beginMessage(client);
  await client.write(bodyOf(300_000));
  await redis.setrange("filling", 56 * mib, "x");
  await eventually(() => edge.intake.unavailable("under way")?.why === "full", "the edge sees it");
  await client.send("small rest", ".");
  await client.expect("452 4.3.1 ");
  await eventually(async () => (await draftKeys()) === 0, "the draft is gone");
  client.destroy();
});

test("maxmemory reached at the commit after all: 452, and its chunks do not wait to expire", async () => {
  for (const octets of [20, 200_000]) {
    const client = await edge.client();
    await beginMessage(client);
    await client.write(bodyOf(octets));
    if (octets > 100_000) await eventually(async () => (await draftKeys()) === 1, "it is being spooled");
    // Lowered within one of the edge's looks, so that it is Redis itself that refuses.
    await Promise.all([redis.config("SET", "maxmemory", 1), client.send(".")]);
    await client.expect("452 4.3.1 ");
    await eventually(async () => (await redis.keys("millrace:*:chunks:*")).length === 0, "no chunk is left");
    await redis.config("SET", "maxmemory", 64 * mib);
    await eventually(() => edge.intake.unavailable() === undefined, "there is room");
    client.destroy();
  }
  assert.equal((await edge.spool.backlog()).messages, 0);
});

test("forty clients with 20 MB each never bring Redis to its end", { timeout: 110_000 }, async () => {
  const clients = await Promise.all(Array.from({ length: 40 }, () => edge.client()));
  for (const client of clients) await beginMessage(client);
  const body = bodyOf(1 * mib);
  let highest = 0;
  const replies = Promise.all(
    clients.map(async (client) => {
      for (let i = 0; i < 20 && (await client.write(body)); i++);
      await client.write(".\r\n");
      const reply = await client.expect("", 90_000);
      client.destroy();
      return reply;
    }),
  );
  let done = false;
  void replies.finally(() => {
    done = true;
  });
  while (!done) {
    const used = /^used_memory:(\d+)/m.exec(await redis.info("memory"))?.[1];
    highest = Math.max(highest, Number(used));
    await sleep(20);
  }
  for (const reply of await replies) assert.match(reply, /^(250 2\.0\.0 |452 4\.3\.1 |421 4\.3\.1 )/);
  assert.ok(highest < 64 * mib, `used ${highest}`);
  // The share between the second mark and the end is for mail that was accepted.
  assert.ok(highest < 0.95 * 64 * mib, `used ${highest / 64 / mib}`);
  await eventually(async () => (await draftKeys()) === 0, "the drafts are gone");
});
