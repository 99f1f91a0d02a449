import type { DeadLetterQuery } from "@millrace/mailstore";
import { type Command, InvalidArgumentError } from "commander";

/** What the filter options of a command hold, read: times as milliseconds since the epoch. */
export type Filters = Pick<
  DeadLetterQuery,
  "worker" | "since" | "until" | "error" | "recipient" | "sender" | "target" | "subject"
>;

const names = ["worker", "since", "until", "error", "recipient", "sender", "target", "subject"] as const;

/** What each is written with, and what it means. */
const options: Record<(typeof names)[number], readonly [value: string, about: string]> = {
  worker: ["name", "of this worker"],
  since: ["time", "from this time on: 2026-08-01, 2026-08-01T14:00Z, or how long ago: 90s, 15m, 2h, 3d"],
  until: ["time", "before this time"],
  error: ["text", "in the error's code, class, status, text or reply: ECONNREFUSED, 550, timeout"],
  recipient: ["pattern", "an address of the recipients; * stands for anything: *@example.com"],
  sender: ["pattern", "the reverse-path, in the same way; <> is the empty one"],
  target: ["text", "in the target's id or address: webhook:, lmtp:10.0.0.7"],
  subject: ["text", "in the subject; with * a pattern for the whole of it"],
};

/** The options that choose dead letters or messages; all of them must fit. */
export function addFilters(command: Command): Command {
  return withFilters(command, names);
}

/** Some of them. */
export function withFilters(command: Command, some: readonly (typeof names)[number][]): Command {
  for (const name of some) {
    const [value, about] = options[name];
    const flags = `--${name} <${value}>`;
    if (times.has(name)) command.option(flags, about, checkedTime);
    else command.option(flags, about);
  }
  return command;
}

/** The filters among a command's options. */
export function filtersOf(options: Record<string, unknown>): Filters {
  const given = Object.entries(typedFilters(options));
  return Object.fromEntries(given.map(([name, text]) => [name, times.has(name) ? time(text) : text]));
}

/** The same as they were typed: "2h" is another time at each start, but the same question. */
export function typedFilters(options: Record<string, unknown>): Record<string, string> {
  const given = names.flatMap((name) => (options[name] === undefined ? [] : [[name, String(options[name])]]));
  return Object.fromEntries(given);
}

/** The filters as one would type them, for people: `--worker deliver --error 550`. */
export function describeFilters(filters: object): string {
  return Object.entries(filters)
    .map(
      ([name, value]) =>
        `--${name} ${typeof value === "number" ? new Date(value).toISOString() : quoted(String(value))}`,
    )
    .join(" ");
}

function quoted(text: string): string {
  return /^[\w.@*:/<>-]+$/.test(text) ? text : JSON.stringify(text);
}

const times: ReadonlySet<string> = new Set(["since", "until"]);
const units: Record<string, number> = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000, w: 604_800_000 };

/** A time that can be read, as it was typed. */
function checkedTime(text: string): string {
  time(text);
  return text;
}

/** A point in time: ISO 8601, or how long ago. */
function time(text: string): number {
  const ago = /^(\d+)([smhdw])$/.exec(text);
  if (ago) return Date.now() - Number(ago[1]) * (units[ago[2] as string] as number);
  const at = /^\d{4}-\d\d-\d\d/.test(text) ? Date.parse(text) : Number.NaN;
  if (!Number.isNaN(at)) return at;
  throw new InvalidArgumentError(
    "give a date (2026-08-01), a time (2026-08-01T14:00Z), or how long ago (90s, 15m, 2h, 3d).",
  );
}
