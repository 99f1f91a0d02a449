import assert from "node:assert/strict";
import { once } from "node:events";
import { after, before, test } from "node:test";
import { failFastRedis } from "@millrace/service";
import { startRedis, type TestRedis } from "@millrace/test/redis";
import { until } from "@millrace/test/until";
import { openPlaces, type Places } from "./places.ts";

let server: TestRedis;
const clients: ReturnType<typeof failFastRedis>[] = [];
const opened: Places[] = [];
before(async () => {
  server = await startRedis();
});
after(async () => {
  await Promise.all(opened.map((places) => places.close()));
  for (const redis of clients) redis.disconnect();
  await server?.stop();
});

/** An edge with two places a client, under this name. */
async function edge(name: string, lease?: number) {
  const redis = failFastRedis(server.url);
  clients.push(redis);
  await once(redis, "ready");
  const places = openPlaces(redis, name, 2, lease);
  opened.push(places);
  return {
    redis,
    places,
    held: async () => (await redis.zrange(`millrace:limits:${name}:x`, "0", "-1")).sort(),
  };
}

test("two edges share the places of a client; one that is given back is free at once", async () => {
  const [one, other] = await Promise.all([edge("shared"), edge("shared")]);
  assert.equal(await one.places.take("x", "a"), true);
  assert.equal(await other.places.take("x", "b"), true);
  for (const { places } of [one, other]) assert.equal(await places.take("x", "c"), false);
  assert.equal(await one.places.take("y", "d"), true);
  one.places.release("x", "a");
  await until(() => other.places.take("x", "e"));
  assert.deepEqual(await one.held(), ["b", "e"]);
});

test("of many that come at once no more are let in than there are places", async () => {
  const edges = await Promise.all([edge("crowd"), edge("crowd")]);
  const taken = await Promise.all(
    Array.from({ length: 40 }, (_, i) => edges[i % 2]?.places.take("x", String(i))),
  );
  assert.equal(taken.filter(Boolean).length, 2);
});

test("places are held for as long as their edge lives, and free when it has died", async () => {
  const [living, dead, third] = await Promise.all([edge("dead", 6), edge("dead", 6), edge("dead", 6)]);
  assert.equal(await living.places.take("x", "stays"), true);
  assert.equal(await dead.places.take("x", "goes"), true);
  // Like a process that is killed: nobody renews, nobody gives back.
  dead.redis.disconnect();
  assert.equal(await third.places.take("x", "new"), false);
  await until(() => third.places.take("x", "new"));
  assert.deepEqual(await third.held(), ["new", "stays"]);
});

test("after an outage in which everything was lost the living are counted again, and nobody else", async () => {
  const { places, redis, held } = await edge("outage", 3);
  assert.equal(await places.take("x", "kept"), true);
  assert.equal(await places.take("x", "ended"), true);
  await server.kill();
  places.release("x", "ended");
  await assert.rejects(places.take("x", "meanwhile"));
  await server.start();
  await until(async () => redis.status === "ready");
  await redis.flushall();
  await until(async () => (await held()).length > 0);
  assert.deepEqual(await held(), ["kept", "meanwhile"]);
  places.release("x", "kept");
  places.release("x", "meanwhile");
  await until(async () => (await held()).length === 0);
});

test("what an outage left in Redis falls off by itself", async () => {
  const { places, redis } = await edge("left", 3);
  for (const id of ["a", "b"]) assert.equal(await places.take("x", id), true);
  await server.kill();
  for (const id of ["a", "b"]) places.release("x", id);
  await server.start();
  await until(async () => redis.status === "ready");
  await until(() => places.take("x", "new"));
});

test("an end that lies further off than any lease, as when the clock was set back, holds no place", async () => {
  const { places, redis, held } = await edge("clock");
  const inAYear = Math.floor(Date.now() / 1_000) + 365 * 86_400;
  await redis.zadd("millrace:limits:clock:x", inAYear, "old", inAYear, "older");
  assert.equal(await places.take("x", "new"), true);
  assert.deepEqual(await held(), ["new"]);
});

test("closing gives everything back", async () => {
  const { places, held } = await edge("closed");
  await places.take("x", "a");
  await places.close();
  assert.deepEqual(await held(), []);
});
