import assert from "node:assert/strict";
import { Readable } from "node:stream";
import { test } from "node:test";
import { emptyParsedMessage, type HeaderEdits, headerEditsSchema, type Manifest } from "@millrace/mail";
import { editedMessage } from "./edited-message.ts";

const received = "Received: by mx.test\r\n";
const message = (body: string) => `${received}X-Old: 1\r\nSubject: a\r\nX-Old: 2\r\n\tfolded\r\n\r\n${body}`;
const expected = (body: string) => `X-New: yes\r\n${received}Subject: a\r\n\r\n${body}`;
const edits = headerEditsSchema.parse({
  add: [{ name: "X-New", value: "yes" }],
  remove: [{ name: "x-old" }],
});

/** A message that counts how much of it is read. */
function source(text: string) {
  const octets = Buffer.from(text);
  const counted = { pieces: 0 };
  return {
    counted,
    manifest: { receivedFieldSize: received.length, size: octets.length - received.length } as Manifest,
    raw: () =>
      Readable.from(
        (function* () {
          for (let at = 0; at < octets.length; at += 1_000) {
            counted.pieces++;
            yield octets.subarray(at, at + 1_000);
          }
        })(),
      ),
    read: async () => octets,
    parsed: async () => emptyParsedMessage([]),
  };
}

async function streamed(given: Readable): Promise<string> {
  const pieces: Buffer[] = [];
  for await (const piece of given) pieces.push(piece as Buffer);
  return Buffer.concat(pieces).toString();
}

for (const [name, body] of [
  ["a small message", "body\r\nX-Old: in the body\r\n"],
  ["a large message", `${"x".repeat(998)}\r\n`.repeat(600)],
] as const) {
  test(`${name}: stream, whole and size say the same`, async () => {
    const edited = await editedMessage(source(message(body)), edits);
    assert.equal((await edited.read()).toString(), expected(body));
    assert.equal(await streamed(await edited.raw()), expected(body));
    assert.equal(edited.size, expected(body).length);
  });

  test(`${name} without edits goes as it is`, async () => {
    const edited = await editedMessage(source(message(body)), undefined);
    assert.equal(await streamed(await edited.raw()), message(body));
    assert.equal(edited.size, message(body).length);
  });
}

test("of a large message no more than the header is read to know its size", async () => {
  const given = source(message("x".repeat(1_000_000)));
  await editedMessage(given, edits);
  assert.ok(given.counted.pieces <= 5, `${given.counted.pieces} pieces were read`);
  const added: HeaderEdits = { add: edits.add, remove: [] };
  const other = source(message("x".repeat(1_000_000)));
  assert.equal((await editedMessage(other, added)).size, 12 + message("x".repeat(1_000_000)).length);
  assert.equal(other.counted.pieces, 0, "and nothing where nothing is left out");
});
