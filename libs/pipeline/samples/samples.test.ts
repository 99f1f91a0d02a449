import assert from "node:assert/strict";
import { buffer } from "node:stream/consumers";
import { test } from "node:test";
import { attachmentOf, parseMessage } from "@millrace/mime";
import { makeSample, type SampleMail, samples } from "./samples.ts";

const to = ["you@in.example.com"];
const at = new Date("2026-11-23T06:00:00Z");

function make(name: string, options: Parameters<typeof makeSample>[1] = { to, at }): SampleMail {
  const sample = makeSample(name, options);
  assert.ok(sample, name);
  return sample;
}

test("plain is text alone, read as it was written", async () => {
  const parsed = await parseMessage(make("plain").raw);
  assert.match(parsed.text, /The café at the mill/);
  assert.deepEqual([parsed.html, parsed.attachments], ["", []]);
});

test("html has HTML and its words", async () => {
  const parsed = await parseMessage(make("html").raw);
  assert.match(parsed.html, /<b>12&nbsp;€<\/b>/);
  assert.match(parsed.text, /from 12 €/);
  assert.deepEqual(parsed.attachments, []);
});

test("attachments has four files of four types, one with a name that is not ASCII", async () => {
  const { attachments } = await parseMessage(make("attachments").raw);
  assert.deepEqual(
    attachments.map(({ contentType, filename }) => [contentType, filename]),
    [
      ["application/pdf", "plan.pdf"],
      ["image/png", "dot.png"],
      ["text/csv", "orders.csv"],
      ["text/plain", "Übersicht – März.txt"],
    ],
  );
});

test("invoice has one PDF, whose table of objects is right", async () => {
  const { raw } = make("invoice");
  const { attachments, subject } = await parseMessage(raw);
  assert.equal(subject, "Invoice 2042");
  assert.deepEqual(
    attachments.map(({ contentType, filename }) => [contentType, filename]),
    [["application/pdf", "invoice-2042.pdf"]],
  );
  const file = (await buffer(await attachmentOf(raw, 0))).toString("latin1");
  const table = Number(/startxref\n(\d+)\n%%EOF\n$/.exec(file)?.[1]);
  assert.equal(file.slice(table, table + 9), "xref\n0 6\n");
  const offsets = [...file.slice(table).matchAll(/^(\d{10}) 00000 n /gm)].map(([, offset]) => Number(offset));
  assert.deepEqual(
    offsets.map((offset) => file.slice(offset, offset + 8)),
    [1, 2, 3, 4, 5].map((number) => `${number} 0 obj\n`),
  );
  const stream = /\/Length (\d+) >>\nstream\n(.*?)\nendstream/s.exec(file);
  assert.equal(stream?.[2]?.length, Number(stream?.[1]));
});

test("calendar invites its recipient to tomorrow, as a view of the mail and as a file", async () => {
  const { raw } = make("calendar");
  const { attachments } = await parseMessage(raw);
  assert.deepEqual(
    attachments.map(({ contentType }) => contentType),
    ["text/calendar", "application/ics"],
  );
  for (const { index } of attachments) {
    const event = (await buffer(await attachmentOf(raw, index))).toString();
    assert.match(event, /METHOD:REQUEST\r\n.*DTSTART:20261124T060000Z\r\n/s);
    assert.match(event, /ATTENDEE;RSVP=TRUE:mailto:you@in\.example\.com\r\n/);
  }
});

test("reply names the two mails before it", async () => {
  const parsed = await parseMessage(make("reply").raw);
  assert.equal(parsed.references.length, 2);
  assert.equal(parsed.inReplyTo, parsed.references[1]);
  assert.match(parsed.text, /^> It left us/m);
});

test("bounce is a delivery status notification with the null reverse-path", async () => {
  const { raw, from } = make("bounce");
  assert.equal(from, "");
  const parsed = await parseMessage(raw);
  const type = parsed.headers.find(({ name }) => name.toLowerCase() === "content-type")?.value;
  assert.match(type ?? "", /^multipart\/report; report-type=delivery-status/);
  assert.match(parsed.text, /Final-Recipient: rfc822; nobody@mail\.example\nAction: failed/);
});

test("big has 8 MB", async () => {
  const { raw } = make("big");
  assert.ok(raw.length > 8_000_000, `${raw.length}`);
  const { attachments } = await parseMessage(raw);
  assert.deepEqual(
    attachments.map(({ size }) => size),
    [6_291_456],
  );
});

test("malformed is read as far as it can be, with its defects named", async () => {
  const parsed = await parseMessage(make("malformed").raw);
  const codes = parsed.defects.map(({ code }) => code);
  for (const code of ["date-invalid", "from-multiple", "header-malformed", "charset-unknown"] as const) {
    assert.ok(codes.includes(code), `${code} among ${codes}`);
  }
  for (const code of ["transfer-encoding-unknown", "boundary-missing"] as const) {
    assert.ok(codes.includes(code), `${code} among ${codes}`);
  }
});

test("spoofed has another sender in its envelope than in its header", async () => {
  const { raw, from } = make("spoofed");
  const parsed = await parseMessage(raw);
  assert.equal(from, "bulk@sender.example");
  assert.deepEqual(parsed.from, [{ name: "Your Bank", address: "security@bank.example" }]);
  const results = parsed.headers.find(({ name }) => name === "Authentication-Results")?.value;
  assert.match(results ?? "", /^in\.example\.com; dkim=pass/);
});

for (const { name, about, from } of samples) {
  test(`${name} is addressed, dated and named when it is made, and has no defect of its own`, async () => {
    const { raw, recipients, ...mail } = make(name, { to: ["a@x.example", "b@y.example"], at });
    assert.deepEqual(recipients, ["a@x.example", "b@y.example"]);
    assert.equal(mail.from, from);
    assert.match(about, /^[A-Z0-9].*\.$/);
    const text = raw.toString("latin1");
    assert.doesNotMatch(text, /[^\r]\n|\r[^\n]/, "a line ends with CRLF");
    assert.ok(text.split("\r\n").every((line) => line.length <= 998));
    const parsed = await parseMessage(raw);
    assert.deepEqual(
      parsed.to.slice(0, 2).map(({ address }) => address),
      recipients,
    );
    const again = await parseMessage(make(name).raw);
    assert.ok(parsed.messageId && parsed.messageId !== again.messageId);
    if (name === "malformed") return;
    assert.deepEqual(parsed.defects, []);
    assert.equal(parsed.date, at.toISOString());
  });
}

test("who sends it may be said; then the header says so too", async () => {
  const { raw, from } = make("invoice", { from: "me@müller.example" });
  assert.equal(from, "me@müller.example");
  assert.equal((await parseMessage(raw)).from[0]?.address, "me@müller.example");
  assert.equal(makeSample("no-such"), undefined);
});
