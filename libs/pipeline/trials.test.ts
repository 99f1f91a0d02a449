import assert from "node:assert/strict";
import { test } from "node:test";
import { Trials } from "./trials.ts";

test("fresh suspects are tried together, those that died before in smaller groups, in the end alone", () => {
  const room = (deaths: number) => {
    const trials = new Trials();
    let count = 0;
    while (trials.begin(deaths)) count++;
    return count;
  };
  assert.deepEqual([0, 1, 2, 3, 10].map(room), [32, 4, 1, 1, 1]);
});

test("whoever is tried alone is alone, whoever comes first", () => {
  const trials = new Trials();
  const endFresh = trials.begin(0);
  assert.ok(endFresh);
  assert.equal(trials.begin(5), undefined);
  endFresh();
  const endAlone = trials.begin(5);
  assert.ok(endAlone);
  assert.equal(trials.begin(0), undefined);
  endAlone();
  assert.ok(trials.begin(0));
});
