import assert from "node:assert/strict";
import { Readable } from "node:stream";
import { test } from "node:test";
import type { DefectCode, ParsedMessage } from "@millrace/mail";
import { defaultParseLimits, parseMessage } from "./index.ts";

const head = "From: a@example.com\r\nDate: Fri, 21 Nov 1997 09:55:06 -0600\r\nSubject: s\r\n";
const codes = (message: ParsedMessage): DefectCode[] => message.defects.map(({ code }) => code);

/** Parses under a clock: none of the messages here may take longer than a second or two. */
async function bounded(raw: Buffer | Readable, limits = defaultParseLimits): Promise<ParsedMessage> {
  const started = performance.now();
  const message = await parseMessage(raw, limits);
  const ms = performance.now() - started;
  assert.ok(ms < 5_000, `took ${ms} ms`);
  return message;
}

function* repeated(first: string, octets: Buffer, times: number): Generator<Buffer> {
  yield Buffer.from(first);
  for (let i = 0; i < times; i++) yield octets;
}

test("20,000 parts: the first 500 are read, the message is flagged", async () => {
  const part = "--b\r\nContent-Type: image/png\r\n\r\nx\r\n";
  const raw = `${head}Content-Type: multipart/mixed; boundary=b\r\n\r\n${part.repeat(20_000)}--b--\r\n`;
  const message = await bounded(Buffer.from(raw));
  assert.deepEqual(codes(message), ["too-many-parts"]);
  // The multipart itself is one of the 500.
  assert.equal(message.attachments.length, 499);
  assert.equal(message.attachments.at(-1)?.size, 1);
  assert.equal(message.subject, "s");
});

test("20,000 parts within one another: read to the limit", async () => {
  let raw = `${head}Content-Type: multipart/mixed; boundary=b0\r\n\r\n--b0\r\n\r\nwords\r\n`;
  for (let i = 1; i < 20_000; i++)
    raw += `--b${i - 1}\r\nContent-Type: multipart/mixed; boundary=b${i}\r\n\r\n`;
  const message = await bounded(Buffer.from(raw));
  assert.deepEqual(codes(message), ["nesting-too-deep"]);
  assert.equal(message.text, "words");
});

test("messages within messages: read to the limit", async () => {
  const wrap = "Content-Type: message/rfc822\r\nContent-Disposition: inline\r\n\r\n";
  const message = await bounded(Buffer.from(head + wrap.repeat(5_000)));
  assert.ok(codes(message).includes("nesting-too-deep"));
});

test("a header past its limit: its beginning is read", async () => {
  const to = `To: ${Array.from({ length: 40_000 }, (_, i) => `user${i}@example.com`).join(",\r\n ")}\r\n`;
  const message = await bounded(Buffer.from(`${head}${to}\r\nwords`));
  assert.ok(codes(message).includes("header-too-large"));
  assert.equal(message.subject, "s");
  assert.deepEqual(message.from, [{ name: "", address: "a@example.com" }]);
  assert.equal(message.to[0]?.address, "user0@example.com");
});

test("a header past its limit in a part: what came before it is there", async () => {
  const parts = [
    "--b\r\n\r\nwords\r\n",
    "--b\r\nContent-Type: image/png\r\n\r\nx\r\n",
    `--b\r\nX-Long: ${"x".repeat(400_000)}\r\n\r\nlost`,
  ];
  const raw = Buffer.from(`${head}Content-Type: multipart/mixed; boundary=b\r\n\r\n${parts.join("")}`);
  const message = await bounded(raw);
  assert.ok(codes(message).includes("header-too-large"));
  assert.equal(message.text.trim(), "words");
  assert.deepEqual(
    message.attachments.map(({ size }) => size),
    [1],
  );
});

for (const [what, value] of [
  ["addresses", "a@b.example, ".repeat(18_000)],
  ["opening brackets", "<".repeat(200_000)],
  ["opening comments", "(".repeat(200_000)],
  ["quotes", '"\\"'.repeat(66_000)],
  ["groups", "a:".repeat(100_000)],
  ["encoded words", "=?utf-8?Q?a?= ".repeat(14_000)],
  ["broken encoded words", "=?utf-8?B?".repeat(20_000)],
]) {
  for (const field of ["To", "Subject", "References", "Content-Type"]) {
    test(`a ${field} of 200 KB of ${what} takes no more than its time`, async () => {
      await bounded(Buffer.from(`From: a@example.com\r\n${field}: ${value}\r\n\r\nwords`));
    });
  }
}

for (const [kind, type] of [
  ["text", "text/plain"],
  ["html", "text/html"],
] as const) {
  test(`${kind} is cut at its limit, at a whole character, and does not pile up in memory`, async () => {
    const line = Buffer.from(`${"ü".repeat(32_000)}\r\n`);
    const raw = Readable.from(repeated(`${head}Content-Type: ${type}; charset=utf-8\r\n\r\n`, line, 1_000));
    const before = process.memoryUsage.rss();
    const message = await bounded(raw, { ...defaultParseLimits, maxTextBytes: 100_001 });
    const grown = process.memoryUsage.rss() - before;
    assert.ok(codes(message).includes(`${kind}-truncated`));
    const kept = Buffer.byteLength(message[kind]);
    assert.ok(kept === 100_000 || kept === 100_001, `${kept} octets were kept`);
    assert.doesNotMatch(message[kind], /\ufffd/);
    assert.ok(grown < 60e6, `64 MB of text took ${grown} octets`);
  });
}

test("a text of exactly the limit is whole", async () => {
  const limits = { ...defaultParseLimits, maxTextBytes: 1_024 };
  const whole = await parseMessage(Buffer.from(`${head}\r\n${"x".repeat(1_024)}`), limits);
  assert.deepEqual([whole.text.length, codes(whole)], [1_024, []]);
  const over = await parseMessage(Buffer.from(`${head}\r\n${"x".repeat(1_025)}`), limits);
  assert.deepEqual([over.text.length, codes(over)], [1_024, ["text-truncated"]]);
});

test("a source is left once there is enough", async () => {
  let taken = 0;
  const endless = Readable.from(
    (function* () {
      yield Buffer.from(`${head}Content-Type: multipart/mixed; boundary=b\r\n\r\n`);
      for (;;) {
        taken++;
        yield Buffer.from("--b\r\n\r\nx\r\n".repeat(100));
      }
    })(),
  );
  await bounded(endless);
  assert.ok(endless.destroyed);
  // What mailparser's streams hold between them is a little over 1 MB.
  assert.ok(taken < 4_000, `${taken} chunks were taken`);
});
