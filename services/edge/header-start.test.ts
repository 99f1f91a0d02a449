import assert from "node:assert/strict";
import { test } from "node:test";
import { HeaderStart } from "./header-start.ts";

function fieldsOf(message: string, cut: number) {
  const start = new HeaderStart();
  const octets = Buffer.from(message, "latin1");
  for (let at = 0; at < octets.length; at += cut) start.add(octets.subarray(at, at + cut));
  return start.fields();
}

test("the header is read however the message is cut, unfolded and decoded", () => {
  const message =
    "Subject: =?utf-8?q?gr=C3=BC=C3=9Fe?=\r\nX-Long: one\r\n\ttwo\r\n\r\nX-Body: no field\r\n\r\nX-Later: no\r\n";
  for (let cut = 1; cut < message.length; cut++) {
    assert.deepEqual(fieldsOf(message, cut), [
      { name: "Subject", value: "gr\u00fc\u00dfe" },
      { name: "X-Long", value: "one two" },
    ]);
  }
});

test("a header without end is read for 64 KiB", () => {
  const fields = fieldsOf("X-Field: 0123456789abcdef\r\n".repeat(10_000), 1_000);
  assert.ok(fields.length > 2_000 && fields.length < 3_000, `${fields.length} fields`);
});

test("a message without a header has no fields", () => {
  assert.deepEqual(fieldsOf("\r\nwords\r\n", 3), []);
  assert.deepEqual(new HeaderStart().fields(), []);
});
