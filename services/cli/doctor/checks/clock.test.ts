import assert from "node:assert/strict";
import { test } from "node:test";
import { ok } from "../finding.ts";
import { greetingClock, judgeHttpDate } from "./clock.ts";

const now = Date.parse("2026-11-27T12:00:00Z");

for (const [date, status] of [
  ["Fri, 27 Nov 2026 12:00:00 +0000", "ok"],
  ["Fri, 27 Nov 2026 13:00:00 +0100", "ok"],
  ["Fri, 27 Nov 2026 12:00:10 +0000", "warning"],
  ["Fri, 27 Nov 2026 11:50:00 +0000", "failure"],
]) {
  test(`a greeting that says ${date} at noon: ${status}`, () => {
    const greeting = ok("greeting", `220 mx.example.com ESMTP Sendmail; ${date}`);
    assert.equal(greetingClock([greeting], now)?.status, status);
  });
}

test("a greeting without a time, and no greeting", () => {
  assert.equal(greetingClock([ok("greeting", "220 mx.example.com")], now)?.status, "skipped");
  assert.equal(greetingClock([], now), undefined);
});

test("whole seconds of HTTP are no difference", () => {
  assert.equal(judgeHttpDate("Fri, 27 Nov 2026 12:00:00 GMT", now + 900, now + 950).status, "ok");
  assert.equal(judgeHttpDate("Fri, 27 Nov 2026 12:00:09 GMT", now, now + 50).status, "warning");
  assert.equal(judgeHttpDate(null, now, now).status, "skipped");
});
