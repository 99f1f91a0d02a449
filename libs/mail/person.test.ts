import assert from "node:assert/strict";
import { test } from "node:test";
import { emptyParsedMessage } from "./parsed-message.ts";
import { personOf } from "./person.ts";

const ann = personOf("Ann@Example.com");
const others = { from: "x@example.net", recipients: ["y@example.net"] };

test("a message concerns who is in its envelope or a field of its header, without regard to case", () => {
  const parsed = emptyParsedMessage([]);
  assert.ok(ann.isConcerned({ ...others, from: "ann@EXAMPLE.com" }, undefined));
  assert.ok(ann.isConcerned({ ...others, recipients: ["y@example.net", "ANN@example.com"] }, undefined));
  for (const field of ["from", "sender", "replyTo", "to", "cc", "bcc"] as const) {
    const with_ = { ...parsed, [field]: [{ name: "", address: "aNN@example.com" }] };
    assert.ok(ann.isConcerned(others, with_), field);
  }
  const second = { name: "FROM", raw: " <ann@example.com>", value: "<ann@example.com>" };
  assert.ok(ann.isConcerned(others, { ...parsed, headers: [second] }));
});

test("a message that only mentions an address, or has a longer one, does not concern it", () => {
  const box = (address: string) => ({
    ...emptyParsedMessage([]),
    ...{ to: [{ name: "", address }], text: "ask ann@example.com", subject: "ann@example.com" },
    headers: [{ name: "Subject", raw: " ann@example.com", value: "ann@example.com" }],
  });
  for (const address of ["joann@example.com", "x.ann@example.com", "ann@example.com.au", "ann@example.co"]) {
    assert.ok(!ann.isConcerned(others, box(address)), address);
    assert.ok(!ann.isMentioned(`<${address}>`), address);
  }
});

test("a mention is replaced wherever it stands, and nothing else is", () => {
  assert.equal(
    ann.redacted("550 <ann@example.com>: ann@Example.com. Not joann@example.com, maildir:/m/ann@example.com"),
    "550 <erased>: erased. Not joann@example.com, maildir:/m/erased",
  );
  assert.deepEqual(
    ann.redactedValue({ n: 1, no: null, to: ["ann@example.com", { "ann@example.com": true }] }),
    { n: 1, no: null, to: ["erased", { erased: true }] },
  );
});

test("an address that JSON or a file name writes differently is found in them too", () => {
  const odd = personOf('"o\'a b"@example.com');
  assert.ok(odd.isMentioned(JSON.stringify(odd.address)));
  assert.ok(odd.isMentioned("maildir:/m/%22o%27a%20b%22@example.com"));
  assert.ok(personOf("jürgen@example.com").isMentioned("to JÜRGEN@example.com"));
});
