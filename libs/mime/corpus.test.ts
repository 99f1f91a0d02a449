import assert from "node:assert/strict";
import { test } from "node:test";
import { parsedMessageSchema } from "@millrace/mail";
import { corpus } from "@millrace/test/corpus";
import { simpleParser } from "mailparser";
import { parseMessage } from "./index.ts";

const messages = corpus();
const skip = messages.length === 0 && "no corpus here";

test("every message of the corpus is read, soon, into what a store takes", { skip }, async () => {
  for (const { name, raw } of messages) {
    const started = performance.now();
    const message = await parseMessage(raw);
    const ms = performance.now() - started;
    assert.deepEqual(parsedMessageSchema.parse(JSON.parse(JSON.stringify(message))), message, name);
    assert.doesNotMatch(JSON.stringify(message), /\\u0000|\\ud[89a-f]/i, name);
    assert.ok(ms < 2_000, `${name} took ${ms} ms`);
  }
});

test("attachments and subjects are those of mailparser's own reading", { skip }, async () => {
  const differ: string[] = [];
  for (const { name, raw } of messages) {
    const ours = await parseMessage(raw);
    const theirs = await simpleParser(raw, {
      skipHtmlToText: true,
      skipTextToHtml: true,
      checksumAlgo: "sha256",
    });
    assert.deepEqual(
      ours.attachments.map(({ sha256 }) => sha256),
      theirs.attachments.map(({ checksum }) => checksum),
      name,
    );
    if (ours.subject !== (theirs.subject ?? "")) differ.push(name);
  }
  // Its Subject is latin1, of which mailparser makes U+FFFD.
  assert.deepEqual(differ, ["mikel-mail/error_emails_invalid_subject_characters.eml"]);
});
