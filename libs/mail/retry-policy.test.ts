import assert from "node:assert/strict";
import { test } from "node:test";
import { durationOf } from "./duration.ts";
import { lifetime, longestDelay, retrySchema, suspensionDelay } from "./retry-policy.ts";

const problemsOf = (value: unknown) =>
  (retrySchema.safeParse(value).error?.issues ?? []).map(
    ({ path, message }) => `${path.join(".")}: ${message}`,
  );

test("durations are written as people write them", () => {
  const texts = ["500ms", "5s", "10m", "2h", "5d", "1.5h", " 3 s "];
  assert.deepEqual(texts.map(durationOf), [500, 5_000, 600_000, 7_200_000, 432_000_000, 5_400_000, 3_000]);
  for (const text of ["", "5", "s", "-5s", "5 minutes", "1e3s", "5S", "5s5s"])
    assert.ok(Number.isNaN(durationOf(text)), text);
});

test("a schedule is a list of delays, or a first and a longest delay and an end", () => {
  assert.deepEqual(retrySchema.parse(["5s", "5m"]), { delays: [5_000, 300_000], jitter: 0.2 });
  assert.deepEqual(retrySchema.parse([]), { delays: [], jitter: 0.2 });
  assert.deepEqual(retrySchema.parse({ first: "1s", longest: "1m", giveUpAfter: "1h" }), {
    firstDelay: 1_000,
    maxDelay: 60_000,
    jitter: 0.5,
    giveUpAfter: 3_600_000,
  });
  const defaults = { firstDelay: 10_000, maxDelay: 3_600_000, jitter: 0.5, giveUpAfter: 432_000_000 };
  assert.deepEqual(retrySchema.parse({}), defaults);
});

test("what is wrong in a schedule is told by its place, with what is allowed", () => {
  for (const value of ["5s", 5, null, true]) assert.match(problemsOf(value).join(), /a list of delays/);
  assert.match(problemsOf(["5s", "5x"]).join(), /^1: a duration is a number above 0 with its unit/);
  assert.match(problemsOf([5]).join(), /^0: a duration/);
  assert.match(problemsOf(["0s"]).join(), /^0: a duration/);
  assert.match(problemsOf(["31d"]).join(), /30d at most/);
  assert.match(problemsOf({ longest: "soon" }).join(), /^longest: a duration/);
  assert.match(problemsOf({ lngest: "1s" }).join(), /lngest/);
  assert.match(problemsOf({ first: "2h", longest: "1h" }).join(), /^first: .*lower `first`/);
  assert.match(problemsOf(Array.from({ length: 101 }, () => "1s")).join(), /at most 100 delays/);
});

test("how long a policy goes on, and its longest pause", () => {
  assert.equal(lifetime({ delays: [1, 2, 3], jitter: 0 }), 6);
  assert.equal(lifetime({ firstDelay: 1, maxDelay: 10, jitter: 0, giveUpAfter: 99 }), 99);
  assert.equal(lifetime({ firstDelay: 1, maxDelay: 10, jitter: 0, attempts: 4, giveUpAfter: 99 }), 7);
  assert.equal(lifetime({ firstDelay: 1, maxDelay: 10, jitter: 0 }), Number.POSITIVE_INFINITY);
  assert.equal(longestDelay({ delays: [1, 3, 2], jitter: 0 }), 3);
  assert.equal(longestDelay({ delays: [], jitter: 0 }), 0);
});

const [minute, hour, day] = [60_000, 3_600_000, 86_400_000];

test("a suspension waits as long as it wants to, but not past the policy's lifetime", () => {
  const listed = { delays: [5_000, 5 * minute, hour], jitter: 0.2 };
  const growing = { firstDelay: 10_000, maxDelay: hour, jitter: 0.5, giveUpAfter: 5 * day };
  const total = lifetime(listed);
  const next = (policy: typeof listed | typeof growing, age: number) =>
    suspensionDelay(policy, { age, wanted: 10 * minute, overtime: 0 });
  assert.deepEqual([next(listed, 0), next(listed, total - 1_000)], [10 * minute, 1_000]);
  assert.deepEqual([next(growing, 4 * day), next(growing, 5 * day - 1)], [10 * minute, 1]);
  assert.equal(
    suspensionDelay({ ...growing, giveUpAfter: undefined }, { age: 99 * day, wanted: 7, overtime: 0 }),
    7,
  );
});

test("past it there is a grace, counted in what it has waited: by the clock it may be over at once", () => {
  const past = (giveUpAfter: number, overtime: number) =>
    suspensionDelay(
      { firstDelay: 10, maxDelay: 10, jitter: 0, giveUpAfter },
      { age: 99 * day, wanted: 10 * minute, overtime },
    );
  const graces = [0, 10, 19, 20, 21].map((minutes) => past(5 * day, minutes * minute));
  assert.deepEqual(graces, [10 * minute, 10 * minute, minute, undefined, undefined]);
  assert.deepEqual(
    [past(minute, 0), past(minute, minute)],
    [minute, undefined],
    "never longer than the schedule",
  );
  assert.equal(past(0, 0), undefined);
});
