import assert from "node:assert/strict";
import { test } from "node:test";
import { HopCount } from "./hop-count.ts";

const cases: { name: string; text: string; hops: number }[] = [
  { name: "no header", text: "\r\nReceived: body\r\n", hops: 0 },
  { name: "one field", text: "Received: x\r\nSubject: y\r\n\r\n", hops: 1 },
  { name: "any case", text: "RECEIVED: x\r\nreceived: y\r\n\r\n", hops: 2 },
  { name: "white space before the colon", text: "Received \t: x\r\n\r\n", hops: 1 },
  { name: "a longer name", text: "Received-SPF: x\r\nX-Received: y\r\nReceive: z\r\n\r\n", hops: 0 },
  { name: "the word in a folded line", text: "Subject: x\r\n Received: y\r\n\r\n", hops: 0 },
  { name: "fields in the body", text: "Received: x\r\n\r\nReceived: y\r\n", hops: 1 },
  { name: "two colons in a line", text: "Received: a: b\r\nReceived:: c\r\n\r\n", hops: 2 },
  { name: "a header that never ends", text: "Received: a\r\nReceived: b", hops: 2 },
  { name: "line feeds alone", text: "Received: a\nReceived: b\n\nReceived: c\n", hops: 2 },
];

for (const { name, text, hops } of cases) {
  test(`${name}: ${hops}, wherever the chunks are cut`, () => {
    const body = Buffer.from(text);
    for (let first = 0; first <= body.length; first++) {
      for (let second = first; second <= body.length; second++) {
        const count = new HopCount();
        count.scan(body.subarray(0, first));
        count.scan(body.subarray(first, second));
        count.scan(body.subarray(second));
        assert.equal(count.hops, hops, `cut at ${first} and ${second}`);
      }
    }
  });
}
