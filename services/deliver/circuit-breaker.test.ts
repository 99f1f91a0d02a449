import assert from "node:assert/strict";
import { test } from "node:test";
import { type BreakerListener, CircuitBreaker, type Verdict } from "./circuit-breaker.ts";

const refused = { reply: "connect ECONNREFUSED", code: "ECONNREFUSED" };

/** A breaker with a clock that the test moves, and what it told of itself. */
function breakerWith(timing = { failures: 3, cooling: 100, longestCooling: 300 }) {
  let now = 1_000;
  const told: string[] = [];
  const listener: BreakerListener = {
    opened: ({ reply }, open) => void told.push(`opened ${reply} ${open}`),
    closed: (after) => void told.push(`closed ${after}`),
  };
  const breaker = new CircuitBreaker(timing, listener, () => now);
  const attempt = (verdict: Verdict): string => {
    const leave = breaker.admit();
    if (!leave) return "refused";
    breaker.report(leave, verdict);
    return leave;
  };
  const pass = (ms: number) => {
    now += ms;
  };
  return { breaker, told, attempt, pass };
}

test("failures one after another open the circuit; an answer in between starts the count again", () => {
  const { attempt, told, breaker } = breakerWith();
  for (const verdict of [refused, refused, "well", refused, refused] as const)
    assert.equal(attempt(verdict), "attempt");
  assert.deepEqual(told, []);
  attempt(refused);
  assert.deepEqual(told, ["opened connect ECONNREFUSED 100"]);
  assert.equal(attempt("well"), "refused");
  assert.deepEqual(breaker.trouble, refused);
});

test("what teaches nothing about the target changes nothing", () => {
  const { attempt, told, pass, breaker } = breakerWith();
  for (let i = 0; i < 10; i++) attempt("unknown");
  assert.deepEqual(told, []);
  breaker.trip(refused);
  pass(100);
  assert.equal(attempt("unknown"), "probe");
  assert.equal(attempt("unknown"), "probe", "its place as a probe is free again");
  assert.ok(breaker.trouble);
});

test("after the cooling a few are tried, and the first answer lets everybody in", () => {
  const { breaker, told, attempt, pass } = breakerWith();
  breaker.trip(refused);
  pass(99);
  assert.equal(breaker.admit(), undefined);
  assert.equal(breaker.coolsFor, 1);
  pass(1);
  const probes = [breaker.admit(), breaker.admit(), breaker.admit()];
  assert.deepEqual(probes, ["probe", "probe", undefined]);
  breaker.report("probe", "well");
  assert.equal(attempt("well"), "attempt");
  assert.deepEqual(told, ["opened connect ECONNREFUSED 100", "closed 100"]);
});

test("each probe that fails doubles the cooling, up to the longest; the log hears of it once", () => {
  const { breaker, told, attempt, pass } = breakerWith();
  breaker.trip(refused);
  for (const cooling of [200, 300, 300]) {
    pass(breaker.coolsFor);
    const [one, two] = [breaker.admit(), breaker.admit()];
    assert.deepEqual([one, two], ["probe", "probe"]);
    breaker.report("probe", refused);
    breaker.report("probe", refused);
    assert.equal(breaker.coolsFor, cooling, "two probes that fail together count once");
  }
  pass(300);
  attempt("well");
  assert.equal(told.length, 2);
  breaker.trip(refused);
  assert.equal(breaker.coolsFor, 100, "the next trouble begins anew");
});

test("what was under way when the circuit opened is no probe, but its success is one", () => {
  const { breaker, told, pass } = breakerWith();
  const early = [breaker.admit(), breaker.admit()] as const;
  breaker.trip(refused);
  pass(100);
  breaker.report(early[0] as "attempt", refused);
  assert.equal(breaker.coolsFor, 0, "its failure is old news");
  breaker.report(early[1] as "attempt", "well");
  assert.deepEqual(told.at(-1), "closed 100");
});
