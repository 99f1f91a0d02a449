import { readFile } from "node:fs/promises";
import { type MessageId, messageIdSchema, messageStates } from "@millrace/mail";
import {
  type AuditFinding,
  type AuditProblem,
  type AuditReport,
  audit,
  auditProblems,
  type BlobCheck,
} from "@millrace/pipeline/runtime";
import { type Command, Option } from "commander";
import { count, Progress } from "./progress.ts";
import { CommandError, colour, duration, print, printJson, table } from "./terminal.ts";
import { type Working, whoami, withPipeline } from "./working.ts";

interface AuditCommandOptions {
  repair?: boolean;
  blobs: BlobCheck;
  acknowledged?: string;
  json?: boolean;
}

/** Findings of one kind that are printed without --json. */
const shown = 20;

export function addAuditCommand(program: Command): void {
  program
    .command("audit")
    .description(
      "prove that every accepted message is at its end or in flight; list each one for which that does not hold",
    )
    .option("--repair", "give back to the workers what can be, and say what was done")
    .addOption(
      new Option(
        "--blobs <how>",
        "how to look at stored messages: not at all, by size, or by SHA-256 (reads them all)",
      )
        .choices(["none", "size", "content"])
        .default("size"),
    )
    .option(
      "--acknowledged <file>",
      "ids that senders were told (a line of text each, as in their logs): every one must be here",
    )
    .option("--json", "as JSON")
    .addHelpText(
      "after",
      "\nExit status: 0 when the promise holds, 1 when there is a message for which it does not.",
    )
    .action((options: AuditCommandOptions) => withPipeline((working) => run(working, options)));
}

async function run(working: Working, options: AuditCommandOptions): Promise<void> {
  const { pipeline, config } = working;
  const acknowledged = options.acknowledged === undefined ? [] : await idsIn(options.acknowledged);
  let progress: Progress | undefined;
  const report = await audit(pipeline, {
    blobs: options.blobs,
    acknowledged,
    delivery: config.delivery,
    ...(options.repair ? { repair: { routing: config, by: whoami() } } : {}),
    progress(checked, total) {
      progress ??= new Progress("looked at", total);
      progress.at(checked);
    },
  }).catch((error: Error) => {
    throw new CommandError(error.message, 69);
  });
  progress?.end();
  if (options.json) await printJson(report);
  else await print(render(report, acknowledged.length));
  const left = report.findings.filter(({ repaired }) => !repaired);
  if (options.repair ? left.length > 0 : !report.holds) process.exitCode = 1;
}

/** The message ids in a file, whatever stands around them: "250 2.0.0 Ok: queued as 01m8…" will do. */
async function idsIn(file: string): Promise<MessageId[]> {
  const text = await readFile(file, "utf8").catch((error: NodeJS.ErrnoException) => {
    throw new CommandError(
      `--acknowledged ${file}: ${error.code === "ENOENT" ? "there is no such file" : error.message}`,
      2,
    );
  });
  const words = text.match(/\b[0-9a-z]{26}\b/gi) ?? [];
  return [...new Set(words.map((word) => word.toLowerCase()))].filter(
    (word) => messageIdSchema.safeParse(word).success,
  );
}

function render(report: AuditReport, acknowledged: number): string {
  const { accepted, terminal, inFlight, missing, findings } = report;
  const sum = (counts: Record<string, number>) => Object.values(counts).reduce((all, each) => all + each, 0);
  const archiving = "at their end; the journal that tells which is on its way to the mail store";
  const uncleared =
    "stored, and not cleared for delivery: see the dead letters of the worker that should have";
  const ends = { ...messageStates, archiving, uncleared };
  const rows = [["accepted", count(accepted), "with 250"]];
  for (const [state, number] of Object.entries(terminal)) {
    rows.push([`  ${state}`, count(number), ends[state as keyof typeof ends]]);
  }
  const about = {
    received: messageStates.received,
    stored: messageStates.stored,
    deferred: messageStates.deferred,
    other: "at its end by its deliveries, with work of other workers open",
  };
  for (const [state, number] of Object.entries(inFlight)) {
    rows.push([`  ${state}`, count(number), about[state as keyof typeof about]]);
  }
  let out = `${colour.dim(`as of ${report.asOf}`)}\n${table(["", "messages", ""], rows)}\n`;
  const equation = `accepted ${count(accepted)} = terminal ${count(sum(terminal))} + in flight ${count(sum(inFlight))}`;
  out +=
    missing === 0
      ? `${colour.green("holds")}  ${equation}\n`
      : `${colour.red("DOES NOT HOLD")}  ${equation} + ${count(missing)} that are neither\n`;
  if (report.oldestInFlightMs !== null)
    out += `${colour.dim(`the oldest in flight was accepted ${duration(report.oldestInFlightMs)} ago`)}\n`;
  if (report.removed > 0)
    out += colour.dim(
      `beside these, ${count(report.removed)} accepted messages were removed by \`retain\` or \`erase\`\n`,
    );
  if (report.deadLetters > 0)
    out += `${count(report.deadLetters)} dead letters: \`millrace dead-letters list\`\n`;
  if (acknowledged > 0) out += `${count(acknowledged)} acknowledged ids looked up\n`;
  const how = { none: "not looked at", size: "by size", content: "by SHA-256" }[report.blobs.by];
  out += colour.dim(`${count(report.blobs.checked)} stored messages ${how}, ${duration(report.ms)} in all\n`);
  return out + renderFindings(findings);
}

function renderFindings(findings: readonly AuditFinding[]): string {
  let out = "";
  for (const [problem, group] of Map.groupBy(findings, (finding) => finding.problem)) {
    out += `\n${colour.red(`${problem}: ${count(group.length)}`)}  ${auditProblems[problem as AuditProblem]}\n`;
    for (const { message, detail, repaired } of group.slice(0, shown)) {
      const done =
        repaired === undefined
          ? ""
          : repaired === null
            ? colour.red("  not repaired: it needs a person")
            : colour.green(`  ${repaired}`);
      out += `  ${message}  ${detail}${done}\n`;
    }
    if (group.length > shown)
      out += colour.dim(`  and ${count(group.length - shown)} more: --json lists all\n`);
  }
  if (findings.some(({ repaired }) => repaired === undefined)) {
    out +=
      "\n`millrace audit --repair` gives back to the workers what can be; `millrace trace <id>` tells a message's history\n";
  }
  return out;
}
