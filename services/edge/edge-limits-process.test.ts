import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { startRedis } from "@millrace/test/redis";
import { SmtpDialogue } from "@millrace/test/smtp-dialogue";
import { type EdgeProcess, startEdgeProcess } from "./testing/edge-process.ts";

/** Two edges that allow two connections of an address, and their Redis. */
async function twoEdges(t: { after(end: () => Promise<void>): void }): Promise<[EdgeProcess, EdgeProcess]> {
  const edges: EdgeProcess[] = [];
  const redis = await startRedis();
  t.after(async () => {
    for (const { process, ended } of edges) {
      process.kill("SIGKILL");
      await ended;
    }
    await redis.stop();
  });
  for (let i = 0; i < 2; i++) {
    const env = { SMTP_LIMIT_CONNECTIONS_PER_CLIENT: "2" };
    edges.push(await startEdgeProcess(redis.url, { listeners: [{ port: 0 }] }, env));
  }
  return edges as [EdgeProcess, EdgeProcess];
}

/** A connection that has said EHLO, and whether it was let in. */
async function enter({ ports }: EdgeProcess): Promise<{ client: SmtpDialogue; admitted: boolean }> {
  const client = await SmtpDialogue.connect(ports[0] as number);
  await client.expect("220 ");
  await client.send("EHLO client.example");
  const reply = await client.expect("");
  if (!reply.startsWith("250")) assert.match(reply, /^421 4\.7\.0 Too many connections/);
  return { client, admitted: reply.startsWith("250") };
}

/** Comes again until it is let in. */
async function enterInTime(edge: EdgeProcess, seconds: number): Promise<void> {
  const deadline = Date.now() + seconds * 1_000;
  while (!(await enter(edge)).admitted) {
    assert.ok(Date.now() < deadline, `no place within ${seconds} s`);
    await sleep(100);
  }
}

test("kill -9 of an edge: its places are free by themselves, those of the living are not", async (t) => {
  const [dies, lives] = await twoEdges(t);
  const kept = await enter(lives);
  assert.deepEqual([kept.admitted, (await enter(dies)).admitted], [true, true]);
  assert.equal((await enter(lives)).admitted, false);
  dies.process.kill("SIGKILL");
  await dies.ended;
  assert.equal((await enter(lives)).admitted, false);
  await enterInTime(lives, 60);
  // The one that has been there all the time still has its place.
  assert.equal((await enter(lives)).admitted, false);
  await kept.client.send("NOOP");
  await kept.client.expect("250 ");
});

test("SIGTERM of an edge gives its places back at once", async (t) => {
  const [ends, lives] = await twoEdges(t);
  for (let i = 0; i < 2; i++) assert.equal((await enter(ends)).admitted, true);
  assert.equal((await enter(lives)).admitted, false);
  ends.process.kill("SIGTERM");
  assert.equal(await ends.ended, 0);
  assert.equal((await enter(lives)).admitted, true);
});
