import assert from "node:assert/strict";
import { test } from "node:test";
import { lifetime } from "@millrace/mail";
import { suspensionDelay } from "./suspension-delay.ts";

const [minute, hour, day] = [60_000, 3_600_000, 86_400_000];
const listed = { delays: [5_000, 5 * minute, hour], jitter: 0.2 };
const growing = { firstDelay: 10_000, maxDelay: hour, jitter: 0.5, giveUpAfter: 5 * day };
const untold = { wanted: 10 * minute, coolsFor: 0, overtime: 0 };

test("a suspension lasts as long as it wants to, but not past the policy's lifetime", () => {
  const next = (policy: typeof listed | typeof growing, age: number) =>
    suspensionDelay(policy, { ...untold, age });
  assert.deepEqual([next(listed, 0), next(listed, lifetime(listed) - 1_000)], [10 * minute, 1_000]);
  assert.deepEqual([next(growing, 4 * day), next(growing, 5 * day - 1)], [10 * minute, 1]);
  const endless = { ...growing, giveUpAfter: undefined };
  assert.equal(suspensionDelay(endless, { ...untold, age: 99 * day }), 10 * minute);
});

test("past it there is a grace, counted in what was waited: by the clock it may be over at once", () => {
  const past = (giveUpAfter: number, overtime: number) =>
    suspensionDelay({ ...growing, giveUpAfter }, { ...untold, age: 99 * day, overtime });
  const graces = [0, 10, 19, 20, 21].map((minutes) => past(5 * day, minutes * minute));
  assert.deepEqual(graces, [10 * minute, 10 * minute, minute, undefined, undefined]);
  assert.deepEqual([past(minute, 0), past(minute, minute)], [minute, undefined], "as long as the schedule");
  assert.deepEqual([past(0, 0), past(0, 5_000)], [5_000, undefined], "and no shorter than a first cooling");
});

test("it is not over before the target is tried again, however short the schedule", () => {
  const short = { delays: [1_000, 2_000], jitter: 0 };
  const next = (age: number, overtime: number) =>
    suspensionDelay(short, { wanted: minute, coolsFor: 40_000, age, overtime });
  assert.equal(next(0, 0), 40_000);
  assert.equal(next(40_000, 0), 40_000);
  assert.equal(next(80_000, 40_000), undefined);
});
