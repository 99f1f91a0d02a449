import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { startRedis, type TestRedis } from "@millrace/test/redis";
import type { SmtpDialogue } from "@millrace/test/smtp-dialogue";
import { beginMessage, startTestEdge, type TestEdge } from "./testing/test-edge.ts";

let redis: TestRedis;
let strict: TestEdge;
let mending: TestEdge;
before(async () => {
  redis = await startRedis();
  strict = await startTestEdge(redis.url);
  mending = await startTestEdge(redis.url, { env: { SMTP_BARE_LINE_ENDINGS: "normalize" } });
});
after(async () => {
  await strict?.end();
  await mending?.end();
  await redis?.stop();
});

const messages = async () => (await strict.spool.backlog()).messages;

/** A second transaction, hidden in the body of the first behind something that some take for the final dot. */
function smuggling(fake: string): string {
  const hidden = "MAIL FROM:<evil@example.org>\r\nRCPT TO:<victim@example.com>\r\nDATA\r\nhidden\r\n";
  return `Subject: x\r\n\r\nfirst${fake}${hidden}`;
}

const fakes: { name: string; fake: string }[] = [
  { name: "case 1: LF.LF", fake: "\n.\n" },
  { name: "case 2: LF.CRLF", fake: "\n.\r\n" },
  { name: "case 3: CRLF.LF", fake: "\r\n.\n" },
  { name: "case 4: CR.CR", fake: "\r.\r" },
  { name: "case 4: CR.CRLF", fake: "\r.\r\n" },
  { name: "case 4: CRLF.CR", fake: "\r\n.\r" },
  { name: "case 4: CRCRLF.CRCRLF", fake: "\r\r\n.\r\r\n" },
];

/** Octets a write: all at once, octet by octet, and so that every boundary falls everywhere once. */
const steps = [10_000, 1, 7];

for (const { name, fake } of fakes) {
  test(`${name} does not end a message`, async () => {
    const before = await messages();
    const client = await strict.client();
    for (const step of steps) {
      await beginMessage(client);
      await inPieces(client, `${smuggling(fake)}.\r\n`, step);
      await client.expect("550 5.5.2 ");
      await client.send("NOOP");
      await client.expect("250 2.0.0 OK");
    }
    assert.equal(await messages(), before);
    client.destroy();
  });

  test(`${name} is content when line endings are mended`, async () => {
    const body = smuggling(fake);
    const before = await messages();
    const client = await mending.client();
    for (const step of steps) {
      await beginMessage(client);
      await inPieces(client, `${body}.\r\n`, step);
      const { own, manifest } = await mending.stored(await client.expect("250 2.0.0 "));
      assert.equal(own, body.replace(/\r\n|\r|\n/g, "\r\n"));
      assert.equal(manifest.size, own.length);
      await client.send("NOOP");
      await client.expect("250 2.0.0 OK");
    }
    assert.equal(await messages(), before + steps.length);
    client.destroy();
  });
}

for (const fake of ["\r\n\0.\r\n", "\r\n.\0\r\n", "\r\n\0\r\n"]) {
  test(`case 5: ${JSON.stringify(fake)} is content, stored as it came`, async () => {
    const body = smuggling(fake);
    const client = await strict.client();
    await beginMessage(client);
    await client.write(`${body}.\r\n`);
    const { own } = await strict.stored(await client.expect("250 2.0.0 "));
    // smtp-server takes a dot off a line only where two stand.
    assert.equal(own, body);
    client.destroy();
  });
}

test("case 7: a dot alone between LFs is stored between CRLFs, for the relay to stuff", async () => {
  const client = await mending.client();
  await beginMessage(client);
  await client.write("a\n.\nb\r\n.\r\n");
  const { own } = await mending.stored(await client.expect("250 2.0.0 "));
  assert.equal(own, "a\r\n.\r\nb\r\n");
  client.destroy();
});

test("case 18: a body pipelined behind a refused DATA is never read as commands", async () => {
  const before = await messages();
  const hidden = [
    "MAIL FROM:<evil@example.org>",
    "RCPT TO:<victim@example.com>",
    "DATA",
    "hidden",
    ".",
    "QUIT",
  ];
  for (const data of ["DATA", "data", "DATA\t", " DATA", "DATA x", "DATA\0", "BDAT 10 LAST"]) {
    const client = await strict.client();
    await client.send("MAIL FROM:<a@example.org>", "RCPT TO:<user@elsewhere.example>", data, ...hidden);
    await client.expect("250 2.1.0 ");
    await client.expect("550 5.1.1 ");
    await client.expect("50");
    assert.equal(await client.expectClosed(), "", `after ${JSON.stringify(data)}`);
  }
  assert.equal(await messages(), before);
});

test("case 18: the same before EHLO", async () => {
  const client = await strict.client();
  await client.send("RSET", "DATA", "EHLO evil.example", "MAIL FROM:<evil@example.org>");
  await client.expect("250 2.0.0 ");
  await client.expect("503 5.5.1 ");
  assert.equal(await client.expectClosed(), "");
});

test("case 21: a NUL, another control character or broken UTF-8 in a command is refused", async () => {
  const client = await strict.client();
  for (const command of ["MAIL FROM:<a\0b@example.org>", "NOOP \x07", "NOOP \x7f", "MAIL FROM:<a@b>\rX"]) {
    await client.send(command);
    await client.expect("501 5.5.2 ");
  }
  await client.write(Buffer.from("MAIL FROM:<j\xf6rg@example.org> SMTPUTF8\r\n", "latin1"));
  await client.expect("501 5.5.2 ");
  await client.send("MAIL\tFROM:<a@example.org>");
  await client.expect("500 5.5.2 ");
  await client.send("NOOP");
  await client.expect("250 2.0.0 ");
  client.destroy();
});

test("cases 22 and 23: NULs and 8-bit octets in a body are stored as they came, without BODY too", async () => {
  const client = await strict.client();
  await beginMessage(client);
  const octets = Buffer.from(
    Array.from({ length: 256 }, (_, octet) => octet).filter((o) => o !== 10 && o !== 13),
  );
  await client.write(Buffer.concat([Buffer.from("Subject: x\r\n\r\n"), octets, Buffer.from("\r\n.\r\n")]));
  const { own, manifest } = await strict.stored(await client.expect("250 2.0.0 "));
  assert.equal(own, `Subject: x\r\n\r\n${octets.toString("latin1")}\r\n`);
  assert.equal(manifest.envelope.body, null);
  client.destroy();
});

test("case 24: a line of 100 KB is stored as it came", async () => {
  const client = await strict.client();
  await beginMessage(client);
  const line = "x".repeat(100_000);
  await client.send("Subject: x", "", line, ".");
  const { own } = await strict.stored(await client.expect("250 2.0.0 "));
  assert.equal(own, `Subject: x\r\n\r\n${line}\r\n`);
  client.destroy();
});

test("stuffed dots are taken off wherever the stream is cut", async () => {
  const client = await strict.client();
  for (const step of [1, 2, 3, 5, 8]) {
    await beginMessage(client);
    await inPieces(client, "..\r\n...\r\na..b\r\n....\r\n.\r\n", step);
    const { own } = await strict.stored(await client.expect("250 2.0.0 "));
    assert.equal(own, ".\r\n..\r\na..b\r\n...\r\n", `in pieces of ${step}`);
  }
  client.destroy();
});

test("case 6: two hundred random bodies in random pieces come out as they should", async () => {
  const client = await mending.client();
  // Each begins with an "x": smtp-server does not see stuffing behind an LF that is a body's very first octet.
  const tokens = ["\r\n", "\r\n", "\r", "\n", ".", "..", "x", "\0", "\r\n.", "\n.."];
  for (let seed = 1; seed <= 200; seed++) {
    const random = randomFrom(seed);
    const wire = `x${Array.from({ length: 1 + random(30) }, () => tokens[random(tokens.length)]).join("")}\r\n`;
    // What ends the message is left out: the rest would be commands.
    if (wire.includes("\r\n.\r\n")) continue;
    await beginMessage(client);
    for (let at = 0; at < wire.length; ) {
      const piece = 1 + random(8);
      await client.write(wire.slice(at, at + piece));
      at += piece;
    }
    await client.write(".\r\n");
    const { own } = await mending.stored(await client.expect("250 2.0.0 "));
    const unstuffed = wire.replace(/\n\.\./g, "\n.");
    assert.equal(own, unstuffed.replace(/\r\n|\r|\n/g, "\r\n"), `seed ${seed}: ${JSON.stringify(wire)}`);
  }
  client.destroy();
});

/** Whole numbers below a limit, the same for the same seed. */
function randomFrom(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    return (state >>> 8) % below;
  };
}

async function inPieces(client: SmtpDialogue, text: string, step: number): Promise<void> {
  for (let at = 0; at < text.length; at += step) await client.write(text.slice(at, at + step));
}
