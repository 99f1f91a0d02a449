import assert from "node:assert/strict";
import { test } from "node:test";
import { durationOf } from "./duration.ts";
import { lifetime, longestDelay, retrySchema } from "./retry-policy.ts";

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
