import assert from "node:assert/strict";
import { test } from "node:test";
import { lifetime } from "@millrace/mail";
import { type Suspension, suspensionDelay } from "./suspension-delay.ts";

const [minute, hour, day] = [60_000, 3_600_000, 86_400_000];
const listed = { delays: [5_000, 5 * minute, hour], jitter: 0.2 };
const growing = { firstDelay: 10_000, maxDelay: hour, jitter: 0.5, giveUpAfter: 5 * day };
const first: Suspension = { overtime: 0, outwaited: false };

test("a suspension lasts as long as it wants to, but not past the policy's lifetime", () => {
  const next = (policy: typeof listed | typeof growing, age: number) =>
    suspensionDelay(policy, { age, wanted: 10 * minute, coolsFor: 0 }, first)?.delay;
  assert.deepEqual([next(listed, 0), next(listed, lifetime(listed) - 1_000)], [10 * minute, 1_000]);
  assert.deepEqual([next(growing, 4 * day), next(growing, 5 * day - 1)], [10 * minute, 1]);
  const endless = { ...growing, giveUpAfter: undefined };
  assert.equal(
    suspensionDelay(endless, { age: 99 * day, wanted: 10 * minute, coolsFor: 0 }, first)?.delay,
    10 * minute,
  );
});

/** The delays of a delivery that is past its time from the start, until it is given up. */
function graces(giveUpAfter: number, ...trouble: { wanted: number; coolsFor: number }[]): number[] {
  const delays: number[] = [];
  let at: Suspension = first;
  for (const each of trouble) {
    const next = suspensionDelay({ ...growing, giveUpAfter }, { age: 99 * day, ...each }, at);
    if (!next) return delays;
    delays.push(next.delay);
    at = next;
  }
  assert.fail(`not given up: ${delays}`);
}

test("past it there is a grace, counted in what was waited: by the clock it may be over at once", () => {
  const trouble = Array.from({ length: 9 }, () => ({ wanted: 8 * minute, coolsFor: minute }));
  assert.deepEqual(graces(5 * day, ...trouble), [8 * minute, 8 * minute, 4 * minute]);
  assert.deepEqual(graces(10 * minute, ...trouble), [8 * minute, 2 * minute], "as long as the schedule");
  const probed = trouble.map((each) => ({ ...each, coolsFor: 0 }));
  assert.deepEqual(graces(1_000, ...probed), [5_000], "and five seconds at least");
});

test("a target that is left alone for longer is waited for, once", () => {
  const [cools, works] = [
    { wanted: hour, coolsFor: 5 * minute },
    { wanted: hour, coolsFor: 0 },
  ];
  // It is tried again, in vain.
  assert.deepEqual(graces(1_000, cools, cools), [5 * minute]);
  // It is being tried, and what comes of it is waited for.
  assert.deepEqual(graces(1_000, cools, works, works), [5 * minute, 5_000]);
  const short = { delays: [1_000], jitter: 0 };
  const before = suspensionDelay(short, { age: 0, ...cools }, first);
  assert.deepEqual(before, { delay: 5 * minute, overtime: 0, outwaited: true });
  assert.equal(suspensionDelay(short, { age: 5 * minute, ...cools }, before as Suspension), undefined);
});
