import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import type { Unavailable } from "@millrace/pipeline/runtime";
import { type HealthServer, StartError, startHealthServer } from "@millrace/service";
import { startRedis, type TestRedis } from "@millrace/test/redis";
import { SmtpDialogue } from "@millrace/test/smtp-dialogue";
import { until } from "@millrace/test/until";
import { beginMessage, startTestEdge, type TestEdge } from "./testing/test-edge.ts";

let redis: TestRedis;
let edge: TestEdge;
let health: HealthServer;
/** Stands in for what the intake says of itself, when it is set. */
let unavailable: Unavailable | undefined;
before(async () => {
  redis = await startRedis();
  edge = await startTestEdge(redis.url, {
    around: (intake) => ({ ...intake, unavailable: (message) => unavailable ?? intake.unavailable(message) }),
  });
  const { unready, metrics } = edge.edge;
  health = await startHealthServer({ host: "127.0.0.1", port: 0, unready, metrics });
});
after(async () => {
  await health?.close();
  await edge?.end();
  await redis?.stop();
});

async function get(path: string, method = "GET") {
  const response = await fetch(`http://127.0.0.1:${health.port}${path}`, { method });
  return { status: response.status, text: await response.text(), type: response.headers.get("content-type") };
}

/** A figure by its name and labels; 0 when there is none yet. */
async function figure(name: string): Promise<number> {
  const lines = (await get("/metrics")).text.split("\n");
  return Number(lines.find((line) => line.startsWith(`millrace_edge_${name} `))?.split(" ")[1] ?? 0);
}

test("it lives as long as it answers, and is ready as long as it takes mail", async () => {
  assert.deepEqual(await get("/healthz"), { status: 200, text: "ok\n", type: "text/plain; charset=utf-8" });
  assert.equal((await get("/readyz")).status, 200);
  for (const why of ["full", "away"] as const) {
    unavailable = { why, reason: `because it is ${why}` };
    const { status, text } = await get("/readyz");
    assert.deepEqual([status, text], [503, `because it is ${why}\n`]);
    assert.equal((await get("/healthz")).status, 200);
    const { redis_up, full, ready } = Object.fromEntries(
      await Promise.all(["redis_up", "full", "ready"].map(async (name) => [name, await figure(name)])),
    );
    assert.deepEqual(
      { redis_up, full, ready },
      { redis_up: why === "away" ? 0 : 1, full: why === "full" ? 1 : 0, ready: 0 },
    );
    unavailable = undefined;
  }
  assert.deepEqual([await figure("redis_up"), await figure("ready")], [1, 1]);
});

test("a Redis that does not answer makes it unready, and one that is back ready again", async () => {
  redis.freeze();
  await until(async () => (await get("/readyz")).status === 503);
  redis.thaw();
  await until(async () => (await get("/readyz")).status === 200);
});

test("it counts sessions and health checks, messages, refusals and the time of commits", async () => {
  const names = [
    'sessions_total{listener="smtp"}',
    'probes_total{listener="smtp"}',
    "messages_accepted_total",
    'refusals_total{listener="smtp",code="550"}',
    'commit_seconds_count{outcome="committed"}',
    'connections{listener="smtp"}',
  ];
  const all = async () => Promise.all(names.map(figure));
  const before = await all();
  const client = await edge.client();
  await beginMessage(client);
  await client.send("x", ".");
  await client.expect("250 2.0.0 ");
  await client.send("MAIL FROM:<a@example.org>", "RCPT TO:<a@elsewhere.example>");
  await client.expect("250 2.1.0 ");
  await client.expect("550 5.1.1 ");
  const check = await SmtpDialogue.connect(edge.port);
  await check.expect("220 ");
  await check.send("QUIT");
  await check.expectClosed();
  await until(async () => (await figure(names[1] as string)) > (before[1] as number));
  assert.deepEqual(
    (await all()).map((value, i) => value - (before[i] as number)),
    [1, 1, 1, 1, 1, 1],
  );
  client.destroy();
  const { type, text } = await get("/metrics");
  assert.match(String(type), /^text\/plain; version=0\.0\.4/);
  assert.match(text, /commit_seconds_bucket\{le="0\.5",outcome="committed"\} \d/);
  assert.match(text, /^process_resident_memory_bytes \d+/m);
});

test("whatever else is asked is answered, and changes nothing", async () => {
  assert.equal((await get("/")).status, 404);
  assert.equal((await get("/__proto__")).status, 404);
  assert.equal((await get("/readyz", "POST")).status, 405);
  assert.deepEqual(await get("/readyz?from=balancer", "HEAD"), {
    status: 200,
    text: "",
    type: "text/plain; charset=utf-8",
  });
});

test("a port that is taken stops the start, with the setting's name", async () => {
  const taken = {
    host: "127.0.0.1",
    port: health.port,
    unready: () => undefined,
    metrics: edge.edge.metrics,
  };
  await assert.rejects(startHealthServer(taken), (error) => {
    return (
      error instanceof StartError && error.message.startsWith(`HEALTH_PORT=${health.port}: cannot listen`)
    );
  });
});
