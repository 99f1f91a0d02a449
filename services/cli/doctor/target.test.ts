import assert from "node:assert/strict";
import { test } from "node:test";
import { CommandError } from "../terminal.ts";
import { expectedTls } from "./smtp/endpoint.ts";
import { parseTarget } from "./target.ts";

for (const [text, host, port] of [
  ["mx.example.com", "mx.example.com", undefined],
  ["mx.example.com:465", "mx.example.com", 465],
  ["192.0.2.1:25", "192.0.2.1", 25],
  ["2001:db8::1", "2001:db8::1", undefined],
  ["[2001:db8::1]:587", "2001:db8::1", 587],
  ["[2001:db8::1]", "2001:db8::1", undefined],
] as const) {
  test(`${text} is ${host}, port ${port}`, () => assert.deepEqual(parseTarget(text), { host, port }));
}

for (const text of ["", "a b", "mx:", "mx:0", "mx:65536", "mx:25x", "[mx]:25", "2001:db8::1:"])
  test(`${JSON.stringify(text)} is refused`, () => assert.throws(() => parseTarget(text), CommandError));

test("a port's number says how its TLS begins", () => {
  assert.deepEqual([25, 587, 465, 2525].map(expectedTls), ["starttls", "starttls", "implicit", "any"]);
});
