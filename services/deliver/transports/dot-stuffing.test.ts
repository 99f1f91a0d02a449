import assert from "node:assert/strict";
import { test } from "node:test";
import { DotStuffer } from "./dot-stuffing.ts";

const cases: [name: string, message: string, wire: string][] = [
  ["an ordinary message as it is", "a: b\r\n\r\nc\r\n", "a: b\r\n\r\nc\r\n.\r\n"],
  ["a dot at the start of a line", "a\r\n.b\r\n", "a\r\n..b\r\n.\r\n"],
  ["a dot at the start of the message", ".a\r\n", "..a\r\n.\r\n"],
  ["a dot within a line", "a.b\r\n", "a.b\r\n.\r\n"],
  ["a line of one dot", "a\r\n.\r\nb\r\n", "a\r\n..\r\nb\r\n.\r\n"],
  ["a message without a last line end", "a", "a\r\n.\r\n"],
  ["a message that ends in CR", "a\r", "a\r\n.\r\n"],
  ["no message at all", "", ".\r\n"],
  ["LF dot LF", "a\n.\nb\r\n", "a\r\n..\r\nb\r\n.\r\n"],
  ["LF dot CRLF", "a\n.\r\nb\r\n", "a\r\n..\r\nb\r\n.\r\n"],
  ["CRLF dot LF", "a\r\n.\nb\r\n", "a\r\n..\r\nb\r\n.\r\n"],
  ["CR dot CR", "a\r.\rb\r\n", "a\r\n..\r\nb\r\n.\r\n"],
  ["CR dot CRLF", "a\r.\r\nb\r\n", "a\r\n..\r\nb\r\n.\r\n"],
  ["LF at the start", "\n.\r\n", "\r\n..\r\n.\r\n"],
];

for (const [name, message, wire] of cases) {
  test(`dot-stuffing: ${name}, wherever it is cut`, () => {
    const octets = Buffer.from(message);
    for (let cut = 0; cut <= octets.length; cut++) {
      const stuffer = new DotStuffer();
      const parts = [
        stuffer.stuff(octets.subarray(0, cut)),
        stuffer.stuff(octets.subarray(cut)),
        stuffer.end(),
      ];
      assert.equal(Buffer.concat(parts).toString(), wire, `cut at ${cut}`);
    }
  });
}
