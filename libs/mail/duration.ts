import { z } from "zod";

const units: Record<string, number> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };
/** No duration we are asked to wait makes sense beyond this. */
const longest = "30d";

/** Milliseconds of a duration as people write it: "500ms", "5s", "10m", "2h", "5d"; NaN when it is none. */
export function durationOf(text: string): number {
  const match = /^(\d{1,9}(?:\.\d{1,3})?) ?(ms|s|m|h|d)$/.exec(text.trim());
  return match ? Math.round(Number(match[1]) * (units[match[2] as string] as number)) : Number.NaN;
}

/** A duration in a configuration file: text in, milliseconds out. */
export const durationSchema = z.unknown().transform((value, context): number => {
  const milliseconds = typeof value === "string" ? durationOf(value) : Number.NaN;
  if (milliseconds > 0 && milliseconds <= durationOf(longest)) return milliseconds;
  const message = `a duration is a number above 0 with its unit, ms, s, m, h or d: "5s", "10m", "2h"; ${longest} at most`;
  context.issues.push({ code: "custom", message, input: value });
  return z.NEVER;
});

/**
 * Milliseconds of a duration given in code: a number of them, or text as people write it.
 * @throws TypeError when it is none, or not above 0
 */
export function milliseconds(duration: number | string): number {
  const value = typeof duration === "number" ? duration : durationOf(duration);
  if (value > 0 && Number.isFinite(value)) return value;
  throw new TypeError(
    `${JSON.stringify(duration)} is no duration: give milliseconds above 0, or a number with its unit, such as "30s" or "10m"`,
  );
}
