import type { Defect, DefectCode } from "@millrace/mail";

/** The defects found so far: each code once, with what was said of it first. */
export class Defects {
  private readonly found = new Map<DefectCode, string | undefined>();

  /** @param detail where or what; cut to what a line of a terminal takes */
  add(code: DefectCode, detail?: string): void {
    if (!this.found.has(code)) this.found.set(code, detail && excerpt(detail));
  }

  list(): Defect[] {
    return [...this.found].map(([code, detail]) => (detail === undefined ? { code } : { code, detail }));
  }
}

function excerpt(text: string): string {
  const line = storable(text.slice(0, 400)).replace(/\s+/g, " ").trim();
  return line.length > 120 ? `${line.slice(0, 117).toWellFormed()}...` : line;
}

/**
 * A text that every store takes: NUL, which SQLite's and Postgres' text functions stumble over, and halves of
 * surrogate pairs, which UTF-8 has no place for, become U+FFFD.
 */
export function storable(text: string): string {
  const whole = text.toWellFormed();
  return whole.includes("\0") ? whole.replaceAll("\0", "\ufffd") : whole;
}
