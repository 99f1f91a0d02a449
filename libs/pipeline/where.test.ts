import assert from "node:assert/strict";
import test from "node:test";
import { type Attachment, emptyParsedMessage, type ParsedMessage } from "@millrace/mail";
import { mail, manifestOf } from "./kit/mail.ts";
import { isWanted, type Where, whereSchema } from "./where.ts";
import { defineWorker } from "./worker.ts";

const manifest = manifestOf(
  mail(Buffer.alloc(1_000), { from: "Bob@Shop.example", recipients: ["a@x.test", "invoices@in.example"] }),
);
const parsed: ParsedMessage = {
  ...emptyParsedMessage([]),
  headers: [
    { name: "Subject", raw: " =?utf-8?q?Caf=C3=A9?=", value: "Café" },
    { name: "X-Kind", raw: " invoice-7", value: " invoice-7" },
  ],
  attachments: [attached("application/octet-stream", "Bill.PDF"), attached("image/png", null)],
};

function attached(contentType: string, filename: string | null): Attachment {
  return { index: 0, filename, contentType, size: 1, sha256: "", contentId: null, disposition: null };
}

function wanted(where: Where, withParsed: ParsedMessage | undefined = parsed): boolean | undefined {
  return isWanted(whereSchema.parse(where), manifest, withParsed);
}

test("each part of a filter takes what it names and nothing else", () => {
  const cases: [Where, boolean][] = [
    [{}, true],
    [{ recipients: "*@in.example" }, true],
    [{ recipients: ["nobody@x.test", "A@X.TEST"] }, true],
    [{ recipients: "*@other.example" }, false],
    [{ sender: "*@shop.example" }, true],
    [{ sender: "" }, false],
    [{ size: { min: 1_000, max: 1_000 } }, true],
    [{ size: { min: 1_001 } }, false],
    [{ size: { max: 999 } }, false],
    [{ header: { subject: "caf*" } }, true],
    [{ header: { "x-kind": "invoice-?" } }, false],
    [{ header: { "X-Kind": true, Subject: "Café" } }, true],
    [{ header: { "X-Other": true } }, false],
    [{ attachment: "*.pdf" }, true],
    [{ attachment: "application/pdf" }, false],
    [{ attachment: ["text/*", "image/*"] }, true],
    [{ recipients: "*@in.example", attachment: "audio/*" }, false],
  ];
  for (const [where, expected] of cases) assert.equal(wanted(where), expected, JSON.stringify(where));
});

test("what only the parsed message tells is open while there is none, unless the envelope says no", () => {
  assert.equal(isWanted(whereSchema.parse({ attachment: "*.pdf" }), manifest, undefined), undefined);
  assert.equal(
    isWanted(whereSchema.parse({ attachment: "*.pdf", sender: "x@y" }), manifest, undefined),
    false,
  );
});

test("a filter that cannot work is refused where it is written, with its key", () => {
  const define = (on: string, where: object) =>
    defineWorker({ name: "w", on, where: where as Where, handle() {} });
  assert.throws(() => define("message.received", { attachment: "*.pdf" }), /`where`: .*message\.parsed/);
  assert.throws(() => define("message.parsed", { recipient: "x" }), /"w": `where`: .*recipient/s);
  assert.throws(() => define("message.parsed", { sender: 7 }), /sender/);
  assert.throws(() => define("message.prased", {}), /there is no event "message.prased"/);
});
