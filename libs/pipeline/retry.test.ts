import assert from "node:assert/strict";
import { test } from "node:test";
import { retryDelay } from "./retry.ts";

const [minute, hour, day] = [60_000, 3_600_000, 86_400_000];
const smtp = { firstDelay: 10_000, maxDelay: hour, jitter: 0.5, giveUpAfter: 5 * day };
const listed = { delays: [5_000, 5 * minute, hour], jitter: 0.2 };

test("a growing policy doubles its delay up to the longest, less a share of chance", () => {
  const at = (attempts: number, random: number) => retryDelay(smtp, { attempts, age: 0 }, random);
  assert.deepEqual([at(1, 0), at(2, 0), at(3, 0), at(30, 0)], [10_000, 20_000, 40_000, hour]);
  assert.equal(at(1, 1), 5_000);
});

test("giveUpAfter ends a growing policy: the last attempt is made when the time is over, and is the last", () => {
  const next = (age: number) => retryDelay(smtp, { attempts: 50, age }, 0);
  assert.equal(next(5 * day - minute), minute);
  assert.equal(next(5 * day), undefined);
  assert.equal(next(6 * day), undefined);
});

test("time alone ends none before its third failure: a clock may have jumped", () => {
  const next = (attempts: number) => retryDelay(smtp, { attempts, age: 42 * day }, 0);
  assert.deepEqual([1, 2, 3].map(next), [10_000, 20_000, undefined]);
});

test("attempts ends a growing policy, whatever the time", () => {
  const policy = { firstDelay: 10, maxDelay: 20, jitter: 0, attempts: 2 };
  assert.equal(retryDelay(policy, { attempts: 1, age: day }, 0), 10);
  assert.equal(retryDelay(policy, { attempts: 2, age: 0 }, 0), undefined);
});

test("a list has one further attempt for each of its delays, however long the attempts take", () => {
  const next = (attempts: number) => retryDelay(listed, { attempts, age: 30 * day }, 0);
  assert.deepEqual([1, 2, 3, 4].map(next), [5_000, 5 * minute, hour, undefined]);
  assert.equal(retryDelay({ delays: [], jitter: 0 }, { attempts: 1, age: 0 }), undefined);
  assert.equal(retryDelay(listed, { attempts: 1, age: 0 }, 1), 4_000);
});

test("what the far side asks for is kept, up to a day; it never brings an attempt forward", () => {
  for (const policy of [smtp, listed]) {
    const asked = (ms: number) => retryDelay(policy, { attempts: 1, age: 0, asked: ms }, 0);
    assert.equal(asked(7 * minute), 7 * minute);
    assert.equal(asked(30 * day), day);
    assert.equal(asked(1), policy === smtp ? 10_000 : 5_000);
    assert.equal(asked(-5), policy === smtp ? 10_000 : 5_000);
  }
  assert.equal(
    retryDelay(smtp, { attempts: 9, age: 5 * day - 1, asked: hour }, 0),
    hour,
    "even past the end",
  );
});
