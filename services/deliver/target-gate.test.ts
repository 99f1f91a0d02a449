import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { Snooze } from "@millrace/pipeline";
import { defaultGateTiming, type GateTiming, TargetGate, TargetUnavailable } from "./target-gate.ts";

const refused = { reply: "connect ECONNREFUSED", code: "ECONNREFUSED" };

function gateWith(places: number, timing: Partial<GateTiming> = {}) {
  const told: string[] = [];
  const listener = {
    opened: ({ code }: { code?: string | undefined }) => void told.push(`opened ${code}`),
    closed: () => void told.push("closed"),
  };
  return { gate: new TargetGate(places, listener, { ...defaultGateTiming, ...timing }), told };
}

test("a working target lets everybody in, a few at a time and in order", async () => {
  const { gate } = gateWith(2);
  let inside = 0;
  let most = 0;
  const order: number[] = [];
  await Promise.all(
    Array.from({ length: 8 }, async (_, i) => {
      const leave = await gate.enter();
      order.push(i);
      most = Math.max(most, ++inside);
      await sleep(5);
      inside--;
      leave("well");
    }),
  );
  assert.equal(most, 2);
  assert.deepEqual(
    order,
    [...order].sort((a, b) => a - b),
  );
});

test("as many wait as will soon have their turn; the others come back one behind the other", async () => {
  const { gate } = gateWith(2, { waiting: 1_000, longestAway: 5_000 });
  await gate.enter();
  await gate.enter();
  const delays: number[] = [];
  let waiting = 0;
  for (let i = 0; i < 44; i++) {
    const entered = gate.enter().catch((error: unknown) => {
      assert.ok(error instanceof Snooze);
      delays.push(error.delay);
      waiting--;
    });
    waiting++;
    void entered;
  }
  await sleep(0);
  // Before anything is known an attempt is taken to last half a second: four turns of two places each second.
  assert.equal(waiting, 4);
  assert.equal(delays.length, 40);
  const booked = delays.slice(0, 17);
  for (const [i, delay] of booked.slice(1).entries()) assert.ok(delay > (booked[i] as number) + 150);
  assert.ok(delays.every((delay) => delay <= 5_000));
  assert.ok(
    delays.slice(20).every((delay) => delay >= 2_500),
    "and never all at once",
  );
});

test("a fast target has a long queue: nobody is sent away", async () => {
  const { gate } = gateWith(2);
  for (let i = 0; i < 50; i++) (await gate.enter())("well");
  let entered = 0;
  await Promise.all(
    Array.from({ length: 500 }, async () => {
      const leave = await gate.enter();
      entered++;
      leave("well");
    }),
  );
  assert.equal(entered, 500);
});

test("while every place is taken and nothing is delivered, those who wait are told, and so is who comes later", async () => {
  const { gate, told } = gateWith(1, { patience: 1_000 });
  await gate.enter();
  await assert.rejects(gate.enter(), (error) => error instanceof TargetUnavailable && error.coolsFor > 0);
  assert.deepEqual(told, ["opened STUCK"]);
  const asked = performance.now();
  await assert.rejects(gate.enter(), TargetUnavailable);
  assert.ok(performance.now() - asked < 500, "a known trouble is answered at once");
});

test("a stuck target whose delivery ends well is open again", async () => {
  const { gate, told } = gateWith(1, { patience: 100 });
  const leave = await gate.enter();
  await assert.rejects(gate.enter(), TargetUnavailable);
  leave("well");
  (await gate.enter())("well");
  assert.deepEqual(told, ["opened STUCK", "closed"]);
});

test("those who wait when the circuit opens do not find it out one by one", async () => {
  const { gate, told } = gateWith(1, { failures: 1 });
  const leave = await gate.enter();
  const others = [gate.enter(), gate.enter()];
  leave(refused);
  for (const each of others) await assert.rejects(each, /ECONNREFUSED/);
  assert.deepEqual(told, ["opened ECONNREFUSED"]);
});

test("probes have a place only if one is free", async () => {
  const { gate } = gateWith(2, { failures: 1, cooling: 50, longestCooling: 50 });
  await gate.enter();
  (await gate.enter())(refused);
  await sleep(100);
  const probe = await gate.enter();
  await assert.rejects(gate.enter(), TargetUnavailable);
  probe("well");
  await gate.enter();
});

test("a slow target that goes on delivering is not stuck", async () => {
  const { gate, told } = gateWith(2, { patience: 1_000 });
  const slow = async () => {
    const leave = await gate.enter();
    await sleep(600);
    leave("well");
  };
  await Promise.all(Array.from({ length: 6 }, slow));
  assert.deepEqual(told, []);
});

test("those that a target in trouble puts off come back one by one, all of them within ten minutes", async () => {
  const { gate } = gateWith(1, { failures: 1, cooling: 1_000 });
  (await gate.enter())(refused);
  const away: number[] = [];
  for (let i = 0; i < 40_000; i++) {
    // Of those that are let in as probes once the target has cooled, none is heard of again.
    await gate.enter().catch((error: unknown) => {
      assert.ok(error instanceof TargetUnavailable);
      away.push(error.turnIn);
    });
  }
  assert.ok(away.length >= 39_990, `${away.length}`);
  const inTheFirstMinute = away.filter((ms) => ms <= 60_000).length;
  assert.ok(inTheFirstMinute < 6_000, `${inTheFirstMinute}`);
  assert.ok(Math.max(...away) <= 600_000, `${Math.max(...away)}`);
});
