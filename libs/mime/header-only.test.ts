import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { test } from "node:test";
import { parsedMessageSchema } from "@millrace/mail";
import { corpus } from "@millrace/test/corpus";
import { parseHeaderOnly, parseMessage } from "./index.ts";

test("a header is read without the parser", () => {
  const message = parseHeaderOnly(
    Buffer.from(
      [
        "From: =?utf-8?Q?J=C3=B6rg?= <j@example.com>",
        'To: "Doe, John" <john@example.com>, Friends: ann@example.com;, not an address',
        "Subject: =?utf-8?B?R3LDvMOf?=",
        "\t=?utf-8?Q?e?=",
        "no field",
        "Date: Fri, 21 Nov 1997 09:55:06 -0600",
        "Message-ID: <1@example.com>",
        "",
        "Subject: of the body",
      ].join("\r\n"),
    ),
    "time: over 30 s",
  );
  assert.deepEqual(parsedMessageSchema.parse(message), message);
  assert.deepEqual(message.from, [{ name: "Jörg", address: "j@example.com" }]);
  assert.deepEqual(message.to, [
    { name: "Doe, John", address: "john@example.com" },
    { name: "", address: "ann@example.com" },
  ]);
  assert.equal(message.subject, "Grüße");
  assert.equal(message.date, "1997-11-21T15:55:06.000Z");
  assert.equal(message.messageId, "<1@example.com>");
  assert.deepEqual([message.text, message.attachments], ["", []]);
  assert.deepEqual(message.defects, [
    { code: "unparsed", detail: "time: over 30 s" },
    { code: "header-malformed", detail: "no field" },
  ]);
});

test("it looks at 64 KiB and no further", () => {
  const message = parseHeaderOnly(
    Buffer.from(`Subject: s\r\nX: ${"x".repeat(70_000)}\r\nTo: a@b.c\r\n\r\n`),
    "",
  );
  assert.equal(message.subject, "s");
  assert.deepEqual(message.to, []);
});

test("whatever it is given, it answers, and soon", () => {
  const hostile = ["<", "(", '"', "a:", "=?utf-8?Q?", "=?utf-7?B?aa?= ", "\r\n ", "\0", ":", "a@b,", "\\"];
  for (const piece of hostile) {
    for (const field of ["", "From: ", "Subject: ", "References: ", "Date: "]) {
      const started = performance.now();
      const message = parseHeaderOnly(Buffer.from(field + piece.repeat(65_536 / piece.length)), "");
      assert.ok(performance.now() - started < 2_000, `${field}${piece}`);
      parsedMessageSchema.parse(message);
    }
  }
  for (let i = 0; i < 50; i++) parsedMessageSchema.parse(parseHeaderOnly(randomBytes(4_096), ""));
});

test("on the corpus it agrees with the parser about nearly every subject and sender", async (t) => {
  const messages = corpus();
  if (messages.length === 0) return t.skip("no corpus here");
  let same = 0;
  for (const { raw } of messages) {
    const [whole, header] = [await parseMessage(raw), parseHeaderOnly(raw, "")];
    if (whole.subject === header.subject && whole.from[0]?.address === header.from[0]?.address) same++;
  }
  assert.ok(same >= messages.length * 0.95, `${same} of ${messages.length}`);
});
