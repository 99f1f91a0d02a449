import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { startRedis, type TestRedis } from "@millrace/test/redis";
import { SmtpDialogue } from "@millrace/test/smtp-dialogue";
import { beginMessage, startTestEdge } from "./testing/test-edge.ts";

let redis: TestRedis;
before(async () => {
  redis = await startRedis();
});
after(async () => {
  await redis?.stop();
});

test("closing: a message under way is accepted, whoever is idle is told to come back", async () => {
  const edge = await startTestEdge(redis.url);
  const idle = await edge.client();
  const between = await edge.client();
  await between.send("MAIL FROM:<a@example.org>");
  await between.expect("250 2.1.0 ");
  const sending = await edge.client();
  await beginMessage(sending);
  await sending.send("first half");

  let closed = false;
  const closing = edge.close().then(() => {
    closed = true;
  });
  for (const client of [idle, between]) {
    await client.expect("421 4.3.2 ");
    await client.expectClosed();
  }
  await assert.rejects(SmtpDialogue.connect(edge.port), { code: "ECONNREFUSED" });
  assert.equal(closed, false);
  await sending.send("second half", ".", "NOOP");
  const { own } = await edge.stored(await sending.expect("250 2.0.0 Ok: queued as "));
  assert.equal(own, "first half\r\nsecond half\r\n");
  await sending.expect("421 4.3.2 ");
  await sending.expectClosed();
  await closing;
  await edge.end();
});

test("closing: the reply to a message that is being committed is not cut off", async () => {
  let committing: () => void = () => {};
  const begun = new Promise<void>((resolve) => {
    committing = resolve;
  });
  let goOn: () => void = () => {};
  const held = new Promise<void>((resolve) => {
    goOn = resolve;
  });
  const edge = await startTestEdge(redis.url, {
    around: (intake) => ({
      ...intake,
      accept: async (draft, manifest) => {
        committing();
        await held;
        await intake.accept(draft, manifest);
      },
    }),
  });
  const client = await edge.client();
  await beginMessage(client);
  await client.send("x", ".");
  await begun;
  const closing = edge.close();
  goOn();
  await edge.stored(await client.expect("250 2.0.0 "));
  await client.expect("421 4.3.2 ");
  await closing;
  await edge.end();
});

test("closing: a client that has not been greeted yet, and no client at all", async () => {
  const edge = await startTestEdge(redis.url);
  const early = await SmtpDialogue.connect(edge.port);
  const closing = edge.close();
  assert.match(`${await early.expectClosed()}`, /^(421 4\.3\.2 |$)/);
  await closing;
  await edge.end();
});
