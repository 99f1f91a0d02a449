import type { failFastRedis } from "@millrace/service";
import { type Finding, failure, ok, skipped, warning } from "../finding.ts";

const check = "clock";

/** Milliseconds: beyond the first, times of journals no longer fit together; beyond the second, delays and certificates go wrong. */
const [apart, far] = [2_000, 60_000];

const cure =
  "Set both clocks by NTP: timedatectl set-ntp true, and see timedatectl timesync-status on both machines.";

/** Our clock beside Redis's, by which jobs are delayed and locks expire. */
export async function checkRedisClock(redis: ReturnType<typeof failFastRedis>): Promise<Finding> {
  const before = Date.now();
  const [seconds, micros] = await redis.time();
  const after = Date.now();
  return judge("Redis", Number(seconds) * 1_000 + Math.floor(Number(micros) / 1_000), before, after);
}

/** Our clock beside an edge's, by the Date of its health server, which counts whole seconds. */
export function judgeHttpDate(date: string | null, before: number, after: number): Finding {
  const at = Date.parse(date ?? "");
  if (Number.isNaN(at)) return skipped(check, "the health server tells no date");
  return judge("the edge", at, before - 1_000, after);
}

/** Some servers tell the time in their greeting. */
export function greetingClock(findings: readonly Finding[], now = Date.now()): Finding | undefined {
  const greeting = findings.find((finding) => finding.check === "greeting" && finding.status === "ok");
  if (!greeting) return undefined;
  const date = /\w{3}, +\d{1,2} \w{3} \d{4} \d\d:\d\d:\d\d [+-]\d{4}/.exec(greeting.seen)?.[0];
  if (!date) return skipped(check, "the greeting tells no time, and SMTP has no other");
  return judge("the server", Date.parse(date), now - 5_000, now);
}

/** @param before and `after` the asking, by our own clock: what lies between them is no difference */
function judge(who: string, theirs: number, before: number, after: number): Finding {
  const ms = theirs < before ? theirs - before : theirs > after ? theirs - after : 0;
  const figures = { aheadMs: ms };
  const seconds = (Math.abs(ms) / 1_000).toFixed(1);
  const seen =
    ms === 0 ? `${who} has the same time` : `${who} is ${seconds} s ${ms > 0 ? "ahead" : "behind"}`;
  if (Math.abs(ms) >= far) return { ...failure(check, seen, cure), figures };
  return Math.abs(ms) >= apart ? warning(check, seen, cure, figures) : ok(check, seen, figures);
}
