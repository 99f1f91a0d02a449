import { colour, interactive, printable } from "../terminal.ts";
import { type Finding, type Section, type Status, statuses } from "./finding.ts";

const paint: Record<Status, (text: string) => string> = {
  ok: colour.green,
  warning: colour.yellow,
  failure: colour.red,
  skipped: colour.dim,
};
const widestStatus = Math.max(...statuses.map((status) => status.length));
const widestCheck = "certificate chain".length;
const indent = widestStatus + widestCheck + 6;

/** A heading and a paragraph for each finding: status, what was looked at, what was seen, and below it the cure. */
export function sectionText({ about, findings }: Section): string {
  const lines = [colour.bold(printable(about))];
  for (const finding of findings) lines.push(...findingLines(finding));
  return `${lines.join("\n")}\n\n`;
}

function findingLines({ status, check, seen, cure }: Finding): string[] {
  const [first = "", ...rest] = wrapped(printable(seen));
  const head = `  ${paint[status](status.padEnd(widestStatus))}  ${check.padEnd(widestCheck)}  `;
  const below = (line: string) => " ".repeat(indent) + line;
  const cures = cure && status !== "ok" ? wrapped(`→ ${printable(cure)}`) : [];
  return [`${head}${first}`, ...rest.map(below), ...cures.map((line) => below(colour.cyan(line)))];
}

/** What all came to, in one line. */
export function summary(sections: readonly Section[]): string {
  const all = sections.flatMap(({ findings }) => findings);
  const counted = statuses.map(
    (status) => [status, all.filter((each) => each.status === status).length] as const,
  );
  return `${counted.map(([status, count]) => (count > 0 ? paint[status](`${count} ${status}`) : colour.dim(`${count} ${status}`))).join(", ")}\n`;
}

/** Lines no wider than what is left of the terminal; without one, of 120 columns. */
function wrapped(text: string): string[] {
  const width = Math.max(30, ((interactive && process.stdout.columns) || 120) - indent);
  const lines: string[] = [];
  let line = "";
  for (const word of text.split(" ")) {
    if (line && line.length + 1 + word.length > width) {
      lines.push(line);
      line = word;
    } else line = line ? `${line} ${word}` : word;
  }
  return [...lines, line];
}
