import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { startRedis, type TestRedis } from "@millrace/test/redis";
import { SmtpDialogue } from "@millrace/test/smtp-dialogue";
import { beginMessage, startTestEdge, type TestEdge } from "./testing/test-edge.ts";

let redis: TestRedis;
let edge: TestEdge;
let hasty: TestEdge;
before(async () => {
  redis = await startRedis();
  edge = await startTestEdge(redis.url, {
    env: {
      SMTP_MAX_MESSAGE_BYTES: "100000",
      SMTP_MAX_RECIPIENTS: "1000",
      SMTP_MAX_HOPS: "100",
      SMTP_MAX_ERRORS: "3",
    },
  });
  hasty = await startTestEdge(redis.url, {
    env: { SMTP_COMMAND_TIMEOUT_SECONDS: "1", SMTP_DATA_TIMEOUT_SECONDS: "2", SMTP_MAX_CLIENTS: "2" },
  });
});
after(async () => {
  await edge?.end();
  await hasty?.end();
  await redis?.stop();
});

const messages = async () => (await edge.spool.backlog()).messages;

test("case 15: a client that talks before the greeting is turned away", async () => {
  const client = await SmtpDialogue.connect(edge.port);
  await client.send("EHLO early.example", "MAIL FROM:<a@example.org>");
  await client.expect("421 4.7.0 ");
  assert.equal(await client.expectClosed(), "");
});

test("case 16: an HTTP request is turned away", async () => {
  const client = await SmtpDialogue.connect(edge.port);
  await client.expect("220 ");
  await client.send("POST / HTTP/1.1", "Host: x", "", "EHLO x", "MAIL FROM:<a@example.org>");
  await client.expect("421 4.7.0 ");
  assert.equal(await client.expectClosed(), "");
});

test("case 19: a command that trickles in does not extend its time", async () => {
  const client = await hasty.client();
  const started = performance.now();
  while (!client.isClosed && performance.now() - started < 10_000) {
    await client.write("x");
    await sleep(50);
  }
  await client.expect("421 4.4.2 ");
  await client.expectClosed();
  const took = performance.now() - started;
  assert.ok(took > 900 && took < 5_000, `closed after ${took} ms`);
});

test("case 19: a silent client hears 421, before its first command and between two", async () => {
  const mute = await SmtpDialogue.connect(hasty.port);
  await mute.expect("220 ");
  const idle = await hasty.client();
  await mute.expect("421 4.4.2 ");
  await idle.expect("421 4.4.2 ");
  await mute.expectClosed();
  await idle.expectClosed();
});

test("case 19: a message that trickles in ends at the deadline for the whole", async () => {
  const before = await messages();
  const client = await hasty.client();
  await beginMessage(client);
  const started = performance.now();
  while (!client.isClosed && performance.now() - started < 15_000) {
    await client.write("x\r\n");
    await sleep(50);
  }
  await client.expect("421 4.4.2 ");
  const took = performance.now() - started;
  assert.ok(took > 1_900 && took < 8_000, `closed after ${took} ms`);
  assert.equal(await messages(), before);
});

test("a client has the whole time for each of its commands", async () => {
  const client = await hasty.client();
  for (let i = 0; i < 4; i++) {
    await sleep(500);
    await client.send("NOOP");
    await client.expect("250 ");
  }
  client.destroy();
});

test("case 20: a command line that is too long ends the connection", async () => {
  for (const ending of ["", "\r\n"]) {
    const client = await edge.client();
    await client.write(`MAIL FROM:<${"a".repeat(20_000)}@example.org>${ending}`);
    await client.expect("421 4.5.2 ");
    await client.expectClosed();
  }
  const client = await edge.client();
  await client.write(`NOOP ${"a".repeat(2_000)}\r\n`);
  await client.expect("250 ");
  client.destroy();
});

test("case 25: a declared size over the limit is refused at MAIL", async () => {
  const client = await edge.client();
  await client.send("MAIL FROM:<a@example.org> SIZE=100001");
  await client.expect("552 5.3.4 ");
  await client.send("MAIL FROM:<a@example.org> SIZE=100000");
  await client.expect("250 2.1.0 ");
  client.destroy();
});

test("a message of exactly the limit is taken, one octet more is not", async () => {
  const before = await messages();
  const client = await edge.client();
  const line = "x".repeat(998);
  const exact = `${`${line}\r\n`.repeat(99)}${line}\r\n`;
  assert.equal(exact.length, 100_000);
  await beginMessage(client);
  await client.write(`${exact}.\r\n`);
  const { manifest } = await edge.stored(await client.expect("250 2.0.0 "));
  assert.equal(manifest.size, 100_000);
  await beginMessage(client, { parameters: " SIZE=10" });
  await client.write(`x${exact}.\r\n`);
  await client.expect("552 5.3.4 ");
  await client.send("NOOP");
  await client.expect("250 2.0.0 OK");
  assert.equal(await messages(), before + 1);
  client.destroy();
});

test("case 26: a message without an end is cut off at twice the limit", async () => {
  const before = await messages();
  const client = await edge.client();
  await beginMessage(client, { parameters: " SIZE=10" });
  const chunk = "x".repeat(998).concat("\r\n").repeat(10);
  let sent = 0;
  while (sent < 50_000_000 && (await client.write(chunk))) sent += chunk.length;
  assert.ok(sent < 50_000_000, "the edge went on reading");
  await client.expect("552 5.3.4 ");
  await client.expectClosed();
  assert.equal(await messages(), before);
  assert.ok(edge.log.some(({ msg, reason }) => msg === "refused" && String(reason).startsWith("5.3.4")));
});

test("case 34: the recipient after the thousandth is refused, the thousand are kept", async () => {
  const client = await edge.client();
  await client.send("MAIL FROM:<a@example.org>");
  await client.expect("250 2.1.0 ");
  await client.send(...Array.from({ length: 1_010 }, (_, i) => `RCPT TO:<user${i}@example.com>`));
  for (let i = 0; i < 1_000; i++) await client.expect("250 2.1.5 ");
  // More than SMTP_MAX_ERRORS of them: it is no fault of the client's, which is to come back with the rest.
  for (let i = 0; i < 10; i++) await client.expect("452 4.5.3 ");
  await client.send("DATA");
  await client.expect("354 ");
  await client.send("x", ".");
  const { manifest } = await edge.stored(await client.expect("250 2.0.0 "));
  assert.equal(manifest.envelope.recipients.length, 1_000);
  client.destroy();
});

test("case 36: whoever tries out recipients is cut off after so many", async () => {
  const client = await edge.client();
  await client.send("MAIL FROM:<a@example.org>");
  await client.expect("250 2.1.0 ");
  await client.send(...["a", "b", "c", "d", "e"].map((name) => `RCPT TO:<${name}@elsewhere.example>`));
  for (let i = 0; i < 3; i++) await client.expect("550 5.1.1 ");
  await client.expect("421 4.7.0 Too many errors");
  assert.equal(await client.expectClosed(), "");
});

test("errors of every kind count, and an accepted message starts the count anew", async () => {
  const client = await edge.client();
  for (let round = 0; round < 2; round++) {
    await client.send("NONSENSE", "VRFY");
    await client.expect("500 5.5.2 ");
    await client.expect("501 5.5.4 ");
    await beginMessage(client);
    await client.send("x", ".");
    await client.expect("250 2.0.0 ");
  }
  await client.send("NONSENSE", "RCPT TO:<a@example.com>", "\0");
  await client.expect("500 5.5.2 ");
  await client.expect("503 5.5.1 ");
  await client.expect("501 5.5.2 ");
  await client.expect("421 4.7.0 ");
  await client.expectClosed();
});

test("case 43: a message with more Received fields than hops are allowed is looping", async () => {
  const before = await messages();
  const client = await edge.client();
  const hops = (count: number) => Array.from({ length: count }, (_, i) => `Received: from hop${i}`);
  await beginMessage(client);
  await client.send(...hops(101), "Subject: x", "", "x", ".");
  await client.expect("554 5.4.6 ");
  await beginMessage(client);
  await client.send(...hops(100), "Subject: x", "", ...hops(10), ".");
  await client.expect("250 2.0.0 ");
  assert.equal(await messages(), before + 1);
  client.destroy();
});

test("one client more than allowed is turned away, and comes in when another has left", async () => {
  const first = await hasty.client();
  const second = await hasty.client();
  const third = await SmtpDialogue.connect(hasty.port);
  await third.expect("421 ");
  await third.expectClosed();
  await first.send("QUIT");
  await first.expect("221 ");
  await first.expectClosed();
  const fourth = await hasty.client();
  second.destroy();
  fourth.destroy();
});
