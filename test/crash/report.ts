import type { NumberedResult } from "./rounds.ts";

/** One round's line. */
export function line(result: NumberedResult): string {
  const { round, kind, instant, done, counts, repeats, seconds, problems } = result;
  const sent = Object.entries(counts)
    .filter(([state, count]) => count > 0 || state === "acknowledged")
    .map(([state, count]) => `${count} ${state}`);
  const what = done.length > 0 ? done.join(", ") : "nothing";
  return [
    `${String(round).padStart(5)} ${problems.length === 0 ? "ok    " : "FAILED"} ${kind.padEnd(18)}`,
    `${sent.join(", ")}, ${repeats} delivered again`,
    `after ${instant} ms of load: ${what}`,
    `${seconds.toFixed(1)} s`,
  ].join(" | ");
}

/** What all rounds came to, kind by kind. */
export function table(results: readonly NumberedResult[]): string {
  const header = [
    "kind",
    "rounds",
    "failed",
    "acknowledged",
    "refused",
    "unknown",
    "incomplete",
    "delivered again",
    "median s",
  ];
  const rows = [...Map.groupBy(results, ({ kind }) => kind)]
    .sort(([a], [b]) => a.localeCompare(b))
    .map(([kind, group]) => row(kind, group));
  const all = [header, ...rows, row("all", results)];
  return all
    .map((cells, i) => `| ${cells.join(" | ")} |${i === 0 ? `\n|${"---|".repeat(header.length)}` : ""}\n`)
    .join("");
}

function row(name: string, group: readonly NumberedResult[]): string[] {
  const sum = (count: (result: NumberedResult) => number) =>
    group.reduce((total, result) => total + count(result), 0).toLocaleString("en");
  const seconds = group.map((result) => result.seconds).sort((a, b) => a - b);
  return [
    name,
    String(group.length),
    sum(({ problems }) => (problems.length > 0 ? 1 : 0)),
    sum(({ counts }) => counts.acknowledged),
    sum(({ counts }) => counts.refused),
    sum(({ counts }) => counts.unknown),
    sum(({ counts }) => counts.incomplete),
    sum(({ repeats }) => repeats),
    (seconds[Math.floor(seconds.length / 2)] ?? 0).toFixed(1),
  ];
}
