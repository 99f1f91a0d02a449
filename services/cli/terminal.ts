import pc from "picocolors";

/** Whether standard output is a terminal: then there is colour and progress, else plain text. */
export const interactive = process.stdout.isTTY === true;

/** Colours for standard output; without a terminal, or with NO_COLOR, they leave text as it is. */
export const colour = pc.createColors(interactive && pc.isColorSupported);

/** What a person reads about a command that went wrong; printed without a stack. */
export class CommandError extends Error {
  override name = "CommandError";
  readonly status: number;

  constructor(message: string, status = 1) {
    super(message);
    this.status = status;
  }
}

/** Writes to standard output and waits for a slow reader; a reader that has gone away ends the command quietly. */
export async function print(text: string | Uint8Array): Promise<void> {
  if (process.stdout.write(text)) return;
  await new Promise((resolve) => process.stdout.once("drain", resolve));
}

export async function printJson(value: unknown): Promise<void> {
  await print(`${JSON.stringify(value, null, 2)}\n`);
}

/** Rows under headings, in columns as wide as they need; the last one is cut at the terminal's edge. */
export function table(headings: readonly string[], rows: readonly (readonly string[])[]): string {
  const clean = rows.map((row) => row.map(printable));
  const widths = headings.map((heading, i) =>
    Math.max(heading.length, ...clean.map((row) => row[i]?.length ?? 0)),
  );
  const line = (cells: readonly string[]) =>
    cells
      .map((cell, i) => (i === cells.length - 1 ? cell : cell.padEnd(widths[i] ?? 0)))
      .join("  ")
      .slice(0, interactive ? (process.stdout.columns ?? 120) : undefined);
  return [colour.dim(line(headings)), ...clean.map(line)].map((each) => `${each}\n`).join("");
}

/** Text of a message made safe to show: control characters could move the cursor or pretend to be us. */
export function printable(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}]/gu, (char) => (char === "\t" ? " " : "�"));
}

/** The same for text of several lines. */
export function printableLines(text: string): string {
  return text
    .split(/\r\n|\r|\n/)
    .map(printable)
    .join("\n");
}

export function octets(size: number): string {
  if (size < 1_024) return `${size} B`;
  if (size < 1_048_576) return `${(size / 1_024).toFixed(1)} KiB`;
  return `${(size / 1_048_576).toFixed(1)} MiB`;
}

export function duration(ms: number): string {
  if (ms < 1_000) return `${Math.round(ms)} ms`;
  if (ms < 60_000) return `${(ms / 1_000).toFixed(1)} s`;
  if (ms < 3_600_000) return `${Math.round(ms / 60_000)} min`;
  return `${(ms / 3_600_000).toFixed(1)} h`;
}
