import assert from "node:assert/strict";
import { test } from "node:test";
import type { Envelope } from "@millrace/mail";
import { receivedField } from "./received-field.ts";

const id = "01jd0000000000000000000000";
const at = Date.UTC(2026, 0, 5, 9, 8, 7);
const envelope: Envelope = {
  from: "sender@example.org",
  recipients: ["user@example.com"],
  smtputf8: false,
  body: null,
  client: { ip: "192.0.2.1", port: 4_000 },
  helo: "client.example",
  protocol: "ESMTP",
  tls: null,
  user: null,
};

function field(changes: Partial<Envelope> = {}): string {
  return receivedField({ id, hostname: "mx.example.test", envelope: { ...envelope, ...changes }, at });
}

test("the whole field, folded", () => {
  assert.equal(
    field(),
    "Received: from client.example ([192.0.2.1]) by mx.example.test (Millrace)\r\n" +
      "\twith ESMTP id 01jd0000000000000000000000 for <user@example.com>;\r\n" +
      "\tMon, 05 Jan 2026 09:08:07 +0000\r\n",
  );
});

test("an IPv6 client is written as an address literal of RFC 5321", () => {
  assert.match(field({ client: { ip: "2001:db8::1", port: 1 } }), /\(\[IPv6:2001:db8::1\]\)/);
});

test("several recipients are not named", () => {
  assert.doesNotMatch(field({ recipients: ["a@example.com", "b@example.com"] }), /for </);
});

test("nothing of the HELO name can end the field or begin another", () => {
  const helo = "evil)\r\nX-Injected: yes\r\n\r\n;<b>(\0";
  const text = field({ helo });
  assert.doesNotMatch(text, /X-Injected: |[<(]b|\0/);
  assert.match(unfolded(text), /^Received: from [^ ]+ \(\[192\.0\.2\.1\]\) by /);
  assert.equal(text.match(/\r\n/g)?.length, text.match(/\r\n\t|\r\n$/g)?.length);
});

test("an address with characters that mean something in a field is left out", () => {
  for (const recipient of ["a;b@example.com", "a(b@example.com", 'a"b@example.com', "a,b@example.com"]) {
    assert.doesNotMatch(field({ recipients: [recipient] }), /for/, recipient);
  }
});

test("UTF-8 stands in the field of an SMTPUTF8 transaction only", () => {
  const utf8 = { helo: "bücher.example", recipients: ["jörg@bücher.example"] };
  const plain = field(utf8);
  assert.match(plain, /from b\?cher\.example /);
  assert.doesNotMatch(plain, /[^\0-\x7f]/);
  const allowed = unfolded(field({ ...utf8, smtputf8: true, protocol: "UTF8SMTP" }));
  assert.match(allowed, /from bücher\.example .* with UTF8SMTP .* for <jörg@bücher\.example>;/);
});

test("no line is longer than 78 columns unless a word is", () => {
  const long = field({
    helo: `${"h".repeat(50)}.example`,
    recipients: [`${"r".repeat(50)}@example.com`],
    client: { ip: "2001:db8:1111:2222:3333:4444:5555:6666", port: 1 },
  });
  for (const line of long.trimEnd().split("\r\n")) {
    assert.ok(line.replace("\t", " ".repeat(8)).length <= 78, line);
  }
});

function unfolded(text: string): string {
  return text.replaceAll("\r\n\t", " ");
}
