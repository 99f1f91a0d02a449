const months = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
/** Offsets in minutes of the zones that have a name (RFC 5322 §4.3). Military letters count as +0000, as it says. */
const zones: Record<string, number> = { edt: -240, est: -300, cdt: -300, cst: -360, mdt: -360, mst: -420 };
Object.assign(zones, { pdt: -420, pst: -480 });

const dayFirst =
  /^(?:[a-z]+\.?\s*,?\s*)?(\d{1,2})[\s-]+([a-z]{3})[a-z]*\.?,?[\s-]+(\d{2,4}),?\s+(\d{1,2})\s*[:.]\s*(\d{2})(?:\s*[:.]\s*(\d{2}))?(?:\.\d+)?\s*([ap]m)?\s*([+-]\s*\d\d:?\d\d|[a-z]+(?:[+-]\d{4})?)?/i;
/** As C's asctime writes it, with or without a zone before the year. */
const monthFirst =
  /^(?:[a-z]+,?\s+)?([a-z]{3})[a-z]*\s+(\d{1,2}),?\s+(\d{1,2}):(\d{2})(?::(\d{2}))?\s+(?:([a-z]+|[+-]\d{4})\s+)?(\d{4})/i;
const iso = /^\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}/;

/**
 * Reads a Date field: RFC 5322 with its obsolete forms, what asctime writes, and ISO 8601. Not the platform's
 * parser, which finds a date in "hello 5" as well.
 *
 * @param value the unfolded field body
 * @returns ISO 8601 in UTC, or null when it is none
 */
export function readDate(value: string): string | null {
  const text = value
    .slice(0, 200)
    .replace(/\([^()]*\)/g, " ")
    .trim();
  const day = dayFirst.exec(text);
  if (day) {
    const [, date = "", month = "", year = "", hour = "", minute = "", second = "0", half, zone] = day;
    return instant(fullYear(year), month, +date, halfDay(+hour, half), +minute, +second, zone);
  }
  const named = monthFirst.exec(text);
  if (named) {
    const [, month = "", date = "", hour = "", minute = "", second = "0", zone, year = ""] = named;
    return instant(+year, month, +date, +hour, +minute, +second, zone);
  }
  if (!iso.test(text)) return null;
  const time = Date.parse(text);
  return Number.isNaN(time) ? null : new Date(time).toISOString();
}

/** RFC 5322 §4.3: two digits are 1950 to 2049, three count from 1900. */
function fullYear(digits: string): number {
  const year = Number(digits);
  if (digits.length === 4) return year;
  return digits.length === 3 || year >= 50 ? 1900 + year : 2000 + year;
}

function halfDay(hour: number, half: string | undefined): number {
  return half === undefined ? hour : (hour % 12) + (half.toLowerCase() === "pm" ? 12 : 0);
}

function instant(
  year: number,
  monthName: string,
  date: number,
  hour: number,
  minute: number,
  second: number,
  zone: string | undefined,
): string | null {
  const month = months.indexOf(monthName.toLowerCase());
  // 60 is a leap second, which the calendar here does not have: the next minute begins.
  if (month < 0 || hour > 23 || minute > 59 || second > 60) return null;
  const day = new Date(0);
  day.setUTCFullYear(year, month, date);
  if (day.getUTCMonth() !== month || day.getUTCDate() !== date) return null;
  const time = day.getTime() + ((hour * 60 + minute - offsetOf(zone)) * 60 + second) * 1_000;
  return new Date(time).toISOString();
}

/** Minutes east of UTC. A zone nobody knows counts as UTC (RFC 5322 §4.3). */
function offsetOf(zone: string | undefined): number {
  const digits = /([+-])\s*(\d\d):?(\d\d)/.exec(zone ?? "");
  if (!digits) return zones[(zone ?? "").toLowerCase()] ?? 0;
  const minutes = Number(digits[2]) * 60 + Number(digits[3]);
  return digits[1] === "-" ? -minutes : minutes;
}
