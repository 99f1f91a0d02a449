import type { Keeping } from "@millrace/mail";
import { type RetentionSummary, retain } from "@millrace/pipeline/runtime";
import type { Command } from "commander";
import { ProgressLine } from "./progress-line.ts";
import { colour, octets, print, printJson, table } from "./terminal.ts";
import { withWriting } from "./writing.ts";

interface Options {
  dryRun?: boolean;
  withDeadLetters?: boolean;
  json?: boolean;
}

export function addRetainCommand(program: Command): void {
  program
    .command("retain")
    .description(
      "remove the mail that its routes keep no longer (`keep` in the configuration), as happens every day",
    )
    .option("--dry-run", "say what would go, and remove nothing")
    .option("--with-dead-letters", "also messages that have dead letters, and these with them")
    .option("--json", "as JSON")
    .action((options: Options) => run(options));
}

function run(options: Options): Promise<void> {
  return withWriting(async ({ config, mailstore, redis }) => {
    const interrupted = new AbortController();
    process.once("SIGINT", () => interrupted.abort());
    const line = new ProgressLine();
    const dryRun = options.dryRun ?? false;
    if (!dryRun) await mailstore.finishRemovals();
    const summary = await retain({
      ...{ routes: config.routes, mailstore, redis, dryRun, signal: interrupted.signal },
      withDeadLetters: options.withDeadLetters ?? false,
      progress: ({ looked, messages }) => line.show(`${looked} looked at, ${messages} removed`),
    });
    line.clear();
    const complete = !interrupted.signal.aborted;
    if (options.json) await printJson({ dryRun, complete, ...summary });
    else await print(render(summary, dryRun, complete));
    if (!complete) process.exitCode = 130;
  });
}

function render(summary: RetentionSummary, dryRun: boolean, complete: boolean): string {
  const { routes, keptInFlight, keptDeadLetters } = summary;
  if (routes.length === 0) {
    return "no route has limits (`keep: { days: 30 }`), so all mail is kept for ever; nothing was removed\n";
  }
  const went = dryRun ? "would go" : "removed";
  let out = table(
    ["route", "keeps", went, "size"],
    routes.map((route) => [
      route.recipients.join(", "),
      keepingText(route.keep),
      String(route.messages),
      octets(route.octets),
    ]),
  );
  out += `\n${summary.messages} messages ${went}, ${octets(summary.octets)}\n`;
  const kept = [
    ...(keptInFlight > 0 ? [`${keptInFlight} that have not reached their end`] : []),
    ...(keptDeadLetters > 0 ? [`${keptDeadLetters} with dead letters (--with-dead-letters)`] : []),
  ];
  if (kept.length > 0) out += colour.dim(`beyond their limits and kept: ${kept.join(", ")}\n`);
  if (!complete) out += "interrupted; the next run goes on with the rest\n";
  return out;
}

function keepingText({ days, megabytes }: Keeping): string {
  return [
    ...(days === undefined ? [] : [`${days} days`]),
    ...(megabytes === undefined ? [] : [`${megabytes} MB`]),
  ].join(", ");
}
