import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { Snooze } from "@millrace/pipeline";
import { TargetGate } from "./target-gate.ts";

const quick = { patience: 1_000, firstPatience: 200, snooze: 10 };

test("a working target lets everybody in, a few at a time and in order", async () => {
  const gate = new TargetGate(2);
  let inside = 0;
  let most = 0;
  const order: number[] = [];
  await Promise.all(
    Array.from({ length: 20 }, async (_, i) => {
      await gate.enter();
      order.push(i);
      most = Math.max(most, ++inside);
      await sleep(5);
      inside--;
      gate.leave(true);
    }),
  );
  assert.equal(most, 2);
  assert.deepEqual(
    order,
    [...order].sort((a, b) => a - b),
  );
});

test("who waits for a target that is stuck is sent away, and so is who comes later", async () => {
  const gate = new TargetGate(1, quick);
  await gate.enter();
  await assert.rejects(gate.enter(), Snooze);
  const asked = performance.now();
  await assert.rejects(gate.enter(), Snooze);
  assert.ok(performance.now() - asked < 100, "a known stuck target answers at once");
});

test("a stuck target that succeeds again is open again", async () => {
  const gate = new TargetGate(1, quick);
  await gate.enter();
  await assert.rejects(gate.enter(), Snooze);
  gate.leave(true);
  await gate.enter();
  const second = gate.enter();
  gate.leave(true);
  await second;
});

test("a stuck target that fails goes on being tried, by few", async () => {
  const gate = new TargetGate(5, quick);
  for (let i = 0; i < 5; i++) await gate.enter();
  await assert.rejects(gate.enter(), Snooze);
  for (let i = 0; i < 5; i++) gate.leave(false);
  await gate.enter();
  await gate.enter();
  await assert.rejects(gate.enter(), Snooze);
});

test("a slow target that goes on succeeding is not stuck", async () => {
  const gate = new TargetGate(2, { ...quick, firstPatience: 1_000 });
  const slow = async () => {
    await gate.enter();
    await sleep(600);
    gate.leave(true);
  };
  await Promise.all(Array.from({ length: 6 }, slow));
});
