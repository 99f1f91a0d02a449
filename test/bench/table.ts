/** One line of the result: what was measured, on what, and every round's value. */
export interface Row {
  what: string;
  system: string;
  unit: string;
  values: number[];
  /** Instead of values: why there are none. */
  note?: string;
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const half = sorted.length / 2;
  return ((sorted[Math.ceil(half) - 1] ?? Number.NaN) + (sorted[Math.floor(half)] ?? Number.NaN)) / 2;
}

/** The value below which a share of the values lies, `share` from 0 to 1. */
export function quantile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? Number.NaN;
}

export function formatTable(rows: readonly Row[]): string {
  const cells = [
    ["what", "system", "median", "min-max", "rounds", "beside Postfix"],
    ...rows.map((row) => [row.what, row.system, ...figures(row), besidePostfix(row, rows)]),
  ];
  const widths = (cells[0] as string[]).map((_, column) =>
    Math.max(...cells.map((line) => line[column]?.length ?? 0)),
  );
  const lines = cells.map((line) =>
    line
      .map((cell, i) => cell.padEnd(widths[i] ?? 0))
      .join("  ")
      .trimEnd(),
  );
  lines.splice(1, 0, widths.map((width) => "-".repeat(width)).join("  "));
  return `${lines.join("\n")}\n`;
}

function figures({ values, unit, note }: Row): string[] {
  if (values.length === 0) return [note ?? "", "", ""];
  const range = `${shown(Math.min(...values))}-${shown(Math.max(...values))}`;
  return [`${shown(median(values))} ${unit}`, values.length > 1 ? range : "", String(values.length)];
}

function besidePostfix({ what, system, values }: Row, rows: readonly Row[]): string {
  const postfix = rows.find((row) => row.what === what && row.system.startsWith("Postfix"));
  if (!postfix || system === postfix.system || values.length * postfix.values.length === 0) return "";
  return `${(median(values) / median(postfix.values)).toFixed(2)} x`;
}

function shown(value: number): string {
  return value >= 100 ? Math.round(value).toLocaleString("en") : value.toFixed(1);
}
