import assert from "node:assert/strict";
import { test } from "node:test";
import { LineEndings } from "./line-endings.ts";

/** Every way to cut a body in up to three chunks. */
function* cuts(body: Buffer): Iterable<Buffer[]> {
  for (let first = 0; first <= body.length; first++) {
    for (let second = first; second <= body.length; second++) {
      yield [body.subarray(0, first), body.subarray(first, second), body.subarray(second)];
    }
  }
}

const cases: { name: string; body: string; bare: number; mended: string }[] = [
  { name: "no line at all", body: "", bare: 0, mended: "" },
  { name: "clean lines", body: "a\r\n\r\nb\r\n", bare: 0, mended: "a\r\n\r\nb\r\n" },
  { name: "an LF alone", body: "a\nb\r\n", bare: 1, mended: "a\r\nb\r\n" },
  { name: "an LF alone at the start", body: "\nb\r\n", bare: 1, mended: "\r\nb\r\n" },
  { name: "a CR alone", body: "a\rb\r\n", bare: 1, mended: "a\r\nb\r\n" },
  { name: "two CRs before an LF", body: "a\r\r\n", bare: 1, mended: "a\r\n\r\n" },
  { name: "LF before CRLF", body: "a\n\r\n", bare: 1, mended: "a\r\n\r\n" },
  { name: "LF, dot, LF", body: "a\n.\nb\r\n", bare: 2, mended: "a\r\n.\r\nb\r\n" },
  { name: "CR, dot, CR", body: "a\r.\rb\r\n", bare: 2, mended: "a\r\n.\r\nb\r\n" },
  { name: "control characters below LF", body: "\0\t\x0b\x0c\r\n", bare: 0, mended: "\0\t\x0b\x0c\r\n" },
];

for (const { name, body, bare, mended } of cases) {
  test(`${name}: found and mended wherever the chunks are cut`, () => {
    for (const chunks of cuts(Buffer.from(body))) {
      const scanner = new LineEndings();
      const found = chunks.reduce((sum, chunk) => sum + scanner.scan(chunk), 0);
      assert.equal(found, bare, JSON.stringify(chunks.map(String)));
      const mender = new LineEndings();
      const whole = Buffer.concat(chunks.map((chunk) => mender.normalize(chunk))).toString();
      assert.equal(whole, mended, JSON.stringify(chunks.map(String)));
    }
  });
}

test("a clean chunk is passed on, not copied", () => {
  const chunk = Buffer.from("clean\r\n");
  assert.equal(new LineEndings().normalize(chunk), chunk);
});
