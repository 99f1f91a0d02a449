import assert from "node:assert/strict";
import { test } from "node:test";
import { Turns } from "./turns.ts";

test("so many at once, the others in order as turns come free", async () => {
  const turns = new Turns(2);
  const begun: number[] = [];
  for (let n = 0; n < 5; n++) turns.take(() => begun.push(n));
  assert.deepEqual(begun, [0, 1]);
  turns.done();
  await Promise.resolve();
  assert.deepEqual(begun, [0, 1, 2]);
  turns.done();
  turns.done();
  await Promise.resolve();
  assert.deepEqual(begun, [0, 1, 2, 3, 4]);
});

test("a turn nobody waits for is free for the next", () => {
  const turns = new Turns(1);
  let begun = 0;
  for (let n = 0; n < 3; n++) {
    turns.take(() => begun++);
    turns.done();
  }
  assert.equal(begun, 3);
});

test("a long queue of turns that end at once does not become a deep stack", async () => {
  const turns = new Turns(1);
  let ended = 0;
  turns.take(() => {});
  for (let n = 0; n < 20_000; n++) {
    turns.take(() => {
      ended++;
      turns.done();
    });
  }
  turns.done();
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(ended, 20_000);
});
