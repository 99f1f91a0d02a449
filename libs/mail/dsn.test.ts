import assert from "node:assert/strict";
import { test } from "node:test";
import { buildDsn, type DsnRequest } from "./dsn.ts";

const header = "Received: by mx\r\nFrom: a@b.test\r\nSubject: hello\r\nMessage-ID: <1@b.test>\r\n";
const request = (changes: Partial<DsnRequest> = {}): DsnRequest => ({
  id: "01dsn",
  hostname: "mx.example.test",
  to: "sender@example.org",
  original: "01original",
  arrivedAt: Date.UTC(2026, 0, 1),
  lastAttemptAt: Date.UTC(2026, 0, 6),
  now: Date.UTC(2026, 0, 6, 0, 0, 1),
  remote: "relay.example.com",
  recipients: [
    {
      recipient: "bob@example.com",
      reply: "550 5.1.1 no such user",
      code: "550",
      status: "5.1.1",
      permanent: true,
    },
  ],
  header: Buffer.from(header),
  ...changes,
});

/** A DSN taken apart by the letter of RFC 2046: header lines, and the parts with theirs. */
function taken(changes: Partial<DsnRequest> = {}) {
  const { octets, smtputf8 } = buildDsn(request(changes));
  const text = octets.toString("latin1");
  assert.match(text, /^[\t\r\n\x20-\x7e]*$/, "7-bit, without control characters");
  assert.doesNotMatch(text.replaceAll("\r\n", ""), /[\r\n]/, "every line ends in CRLF");
  for (const line of text.split("\r\n")) assert.ok(line.length <= 998, `${line.length} octets in a line`);
  const end = text.indexOf("\r\n\r\n");
  const fields = text.slice(0, end).replace(/\r\n[ \t]/g, " ");
  const boundary = /boundary="([^"]+)"/.exec(fields)?.[1] ?? "";
  assert.ok(boundary);
  const [, ...rest] = `\r\n${text.slice(end + 4)}`.split(`\r\n--${boundary}`);
  assert.equal(rest.pop(), "--\r\n");
  const parts = rest.map((part) => {
    const at = part.indexOf("\r\n\r\n");
    return { fields: part.slice(2, at), body: part.slice(at + 4) };
  });
  assert.equal(parts.length, 3, "three parts, whatever is in them");
  return { smtputf8, text, fields: fields.split("\r\n"), parts };
}

/** Names of header fields. */
const names = (fields: string[]) => fields.map((field) => field.slice(0, field.indexOf(":")));

function decoded({ fields, body }: { fields: string; body: string }): string {
  if (!fields.includes("quoted-printable")) return body;
  const octets = body
    .replaceAll("=\r\n", "")
    .replace(/=([0-9A-F]{2})/g, (_, hex) => String.fromCharCode(Number.parseInt(hex, 16)));
  return Buffer.from(octets, "latin1").toString("utf8");
}

test("a DSN is a multipart/report with words, status fields and the original's header", () => {
  const { fields, parts, smtputf8 } = taken();
  assert.equal(smtputf8, false);
  assert.deepEqual(fields, [
    "From: Mail Delivery System <MAILER-DAEMON@mx.example.test>",
    "To: <sender@example.org>",
    "Subject: Undelivered Mail Returned to Sender",
    "Date: Tue, 06 Jan 2026 00:00:01 +0000",
    "Message-ID: <01dsn@mx.example.test>",
    "In-Reply-To: <1@b.test>",
    "References: <1@b.test>",
    "Auto-Submitted: auto-replied",
    "X-Millrace-Original: 01original",
    "MIME-Version: 1.0",
    'Content-Type: multipart/report; report-type=delivery-status; boundary="=_01dsn"',
  ]);
  const [words, status, original] = parts;
  assert.match(words?.fields ?? "", /^Content-Type: text\/plain; charset=utf-8/);
  assert.match(words?.body ?? "", /<bob@example\.com>:\r\n {4}550 5\.1\.1 no such user/);
  assert.match(status?.fields ?? "", /^Content-Type: message\/delivery-status/);
  assert.equal(
    status?.body,
    [
      "Reporting-MTA: dns; mx.example.test",
      "Arrival-Date: Thu, 01 Jan 2026 00:00:00 +0000",
      "",
      "Final-Recipient: rfc822; bob@example.com",
      "Action: failed",
      "Status: 5.1.1",
      "Remote-MTA: dns; relay.example.com",
      "Diagnostic-Code: smtp; 550 5.1.1 no such user",
      "Last-Attempt-Date: Tue, 06 Jan 2026 00:00:00 +0000",
    ].join("\r\n"),
  );
  assert.match(original?.fields ?? "", /^Content-Type: text\/rfc822-headers/);
  assert.equal(original?.body, header.trimEnd());
});

test("each recipient has a group of its own, with what was said to it", () => {
  const recipients = [
    { recipient: "a@x.test", reply: "451 later", code: "451", permanent: false },
    { recipient: "b@x.test", reply: "connect ECONNREFUSED", code: "ECONNREFUSED", permanent: false },
    { recipient: "c@x.test", reply: "HTTP 410 Gone", code: "HTTP_410", permanent: true },
  ];
  const groups = (taken({ recipients, remote: undefined }).parts[1]?.body ?? "").split("\r\n\r\n").slice(1);
  assert.equal(groups.length, 3);
  assert.match(
    groups[0] ?? "",
    /a@x\.test\r\nAction: failed\r\nStatus: 4\.0\.0\r\nDiagnostic-Code: smtp; 451 later/,
  );
  assert.match(groups[1] ?? "", /Status: 4\.4\.7\r\nDiagnostic-Code: x-millrace; connect ECONNREFUSED/);
  assert.match(groups[2] ?? "", /Status: 5\.0\.0\r\nDiagnostic-Code: x-millrace; HTTP 410 Gone/);
});

test("case 42: nothing foreign begins a header field, a status field, a line or a part of its own", () => {
  const evil = "x\r\nBcc: victim@example.com\r\n\r\n--=_01dsn\r\nX: y\u0085z\u2028w\0\u001b[2J";
  const { fields, parts, text } = taken({
    id: evil,
    hostname: evil,
    to: `"${evil}"@example.org`,
    original: evil,
    remote: evil,
    recipients: [{ recipient: evil, reply: evil, code: evil, status: evil, permanent: true }],
    header: Buffer.from(`Subject: ok\r\n${evil.replaceAll("\r\n\r\n", "\r\n")}`),
  });
  assert.ok(!names(fields).includes("Bcc"));
  assert.equal(new Set(names(fields)).size, fields.length);
  const own =
    /^(Reporting-MTA|Arrival-Date|Final-Recipient|Action|Status|Remote-MTA|Diagnostic-Code|Last-Attempt-Date): | |$/;
  for (const line of (parts[1]?.body ?? "").split("\r\n")) assert.match(line, own);
  assert.equal(
    text.split("\r\n").filter((line) => line.startsWith("Bcc:")).length,
    1,
    "that of the original",
  );
});

test("a sender's address that is no plain one stands in no field as it is", () => {
  for (const to of [
    "a b@x.test",
    "a@x.test>, <b@y.test",
    "a@x.test, b@y.test",
    "a(b)@x.test",
    `${"l".repeat(1_500)}@x.test`,
  ])
    assert.match(
      taken({ to }).text,
      /\r\nTo: =\?utf-8\?B\?[\w+/=]+\?=(\r\n =\?utf-8\?B\?[\w+/=]+\?=)*:;\r\n/,
    );
  for (const to of ['"a b"@x.test', '"a,b<c>"@x.test', "a@[IPv6:::1]", "a+b=c/d@x.test"])
    assert.ok(taken({ to }).fields.includes(`To: <${to}>`), to);
});

test("SMTPUTF8: addresses are told as RFC 6533 has it, in 7 bits, and the transaction needs the extension", () => {
  const { smtputf8, parts, fields } = taken({
    to: "zoë@exämple.org",
    recipients: [
      { recipient: "jürgen+x@exämple.com", reply: "550 nein, müde", code: "550", permanent: true },
    ],
    header: Buffer.from("Subject: grüße\r\n"),
  });
  assert.ok(smtputf8);
  assert.match(fields.join("\n"), /^To: =\?utf-8\?B\?\S+\?=:;$/m);
  assert.match(
    parts[1]?.body ?? "",
    /Final-Recipient: utf-8; j\\x\{FC\}rgen\\x\{2B\}x@ex\\x\{E4\}mple\.com\r\n/,
  );
  assert.match(parts[1]?.body ?? "", /Diagnostic-Code: smtp; 550 nein, m\?de/);
  assert.match(decoded(parts[0] as { fields: string; body: string }), /<jürgen\+x@exämple\.com>/);
  assert.equal(decoded(parts[2] as { fields: string; body: string }), "Subject: grüße");
});

test("long replies are folded, long header lines are encoded, bare line ends are mended", () => {
  const long = "x".repeat(3_000);
  const { parts } = taken({
    recipients: [
      {
        recipient: `${"r".repeat(2_000)}@x.test`,
        reply: `550 ${long} ${"word ".repeat(100)}`,
        code: "550",
        permanent: true,
      },
    ],
    header: Buffer.from(`X-Long: ${long}\nX-Bare: a\rb\r\n`),
  });
  assert.match(parts[1]?.body ?? "", /Diagnostic-Code: smtp; 550\r\n x{900}\r\n x/);
  assert.equal(decoded(parts[2] as { fields: string; body: string }), `X-Long: ${long}\r\nX-Bare: a\r\nb`);
});

test("a line of the original that looks like a boundary is none", () => {
  const { parts } = taken({ header: Buffer.from("Subject: x\r\n--=_01dsn\r\n--=_01dsn--\r\n") });
  assert.match(parts[2]?.body ?? "", /--=_01dsn--$/);
});

test("an original without Message-ID, or with a broken one, is referred to by none", () => {
  for (const id of [
    "",
    "Message-ID: no brackets\r\n",
    "Message-ID: <a b@c>\r\n",
    "Message-ID: <a@b\r\n c>\r\n",
  ]) {
    const { fields } = taken({ header: Buffer.from(`Subject: x\r\n${id}`) });
    assert.ok(!names(fields).includes("References"), id);
  }
});
