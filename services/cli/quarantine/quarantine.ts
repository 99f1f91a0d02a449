import type { Command } from "commander";
import { positiveNumber } from "../numbers.ts";
import { count } from "../progress.ts";
import { parseId, type Reading, withReading } from "../reading.ts";
import { CommandError, colour, octets, print, printable, printJson, table } from "../terminal.ts";
import { withPipeline } from "../working.ts";
import {
  addQuestion,
  chosen,
  find,
  type Held,
  type QuestionOptions,
  questionOf,
  reasonText,
} from "./choice.ts";
import { type DecideOptions, decide } from "./decide.ts";

interface ListOptions extends QuestionOptions {
  limit: number;
  all?: boolean;
  json?: boolean;
}

export function addQuarantineCommand(program: Command): void {
  const quarantine = program
    .command("quarantine")
    .description("messages that a worker has held back: look at them, let them go, or give them up");
  addQuestion(quarantine.command("list").description("newest first"))
    .option("--limit <n>", "how many", positiveNumber, 50)
    .option("--all", "every one")
    .option("--json", "one JSON array")
    .action((options: ListOptions) => withReading((reading) => list(reading, options)));
  quarantine
    .command("show")
    .description("one message: why it is held back, by whom, and the scanners' verdicts")
    .argument("<id>")
    .option("--json", "as JSON")
    .action((id: string, options: { json?: boolean }) =>
      withReading((reading) => show(reading, id, options.json ?? false)),
    );
  deciding(
    quarantine.command("release").description("let messages go: they are delivered as the routes say now"),
  ).action((ids: string[], options: DecideOptions) =>
    withPipeline((working) => decide(working, "release", questionOf(ids, options), options)),
  );
  deciding(
    quarantine
      .command("discard")
      .description(
        "give messages up: nobody gets them, and they stay in the mail store as the routes keep it",
      ),
  )
    .option("--yes", "do not ask")
    .action((ids: string[], options: DecideOptions) =>
      withPipeline((working) => decide(working, "discard", questionOf(ids, options), options)),
    );
}

function deciding(command: Command): Command {
  return addQuestion(command.argument("[ids...]", "ids of messages, instead of filters or beside them"))
    .option("--all", "every message in quarantine")
    .option("--limit <n>", "no more than so many", positiveNumber)
    .option("--reason <text>", "why, for the journal", reasonText)
    .option("--dry-run", "only say which")
    .option("--json", "as JSON");
}

async function list({ mailstore }: Reading, options: ListOptions): Promise<void> {
  const all = [...chosen(mailstore, questionOf([], options))].reverse();
  const shown = options.all ? all : all.slice(0, options.limit);
  if (options.json) return printJson(shown.map(printableHeld));
  if (shown.length === 0) return print("nothing is in quarantine\n");
  await print(
    table(
      ["id", "held", "size", "by", "from", "to", "subject", "reason"],
      shown.map(({ summary, at, by, reason }) => [
        summary.id,
        new Date(at).toISOString().slice(0, 19).replace("T", " "),
        octets(summary.size),
        by,
        summary.from || "<>",
        summary.to.length > 1 ? `${summary.to[0]} +${summary.to.length - 1}` : (summary.to[0] ?? ""),
        summary.subject,
        reason,
      ]),
    ),
  );
  if (all.length > shown.length)
    await print(
      colour.dim(`the newest ${shown.length} of ${count(all.length)}; --limit N or --all shows more\n`),
    );
}

/** A message in quarantine as `--json` prints it. */
function printableHeld({ summary, at, by, worker, reason, verdicts, header, decision }: Held) {
  const { id, receivedAt, from, to, subject, size, sha256, state } = summary;
  return {
    ...{ id, receivedAt, from, to, subject, size, sha256, state },
    ...{ heldAt: new Date(at).toISOString(), worker, by, reason },
    ...{ verdicts: verdicts ?? {}, header: header ?? null, discarded: decision === "discarded" },
  };
}

async function show({ mailstore }: Reading, text: string, json: boolean): Promise<void> {
  const id = parseId(text);
  const held = find(mailstore, id);
  if (!held) {
    throw new CommandError(
      `${id} is not in quarantine: \`millrace quarantine list\` shows what is, \`millrace trace ${id}\` what became of it`,
    );
  }
  if (json) return printJson(printableHeld(held));
  const { summary, worker, by, reason, verdicts, header, at } = held;
  const field = (name: string, value: string) => `${colour.dim(name.padEnd(12))}${printable(value)}\n`;
  let out = field("id", id) + field("state", summary.state) + field("subject", summary.subject);
  out += field("from", summary.from || "<>") + field("to", summary.to.join(", "));
  out +=
    field("size", octets(summary.size)) +
    field("held", `${new Date(at).toISOString()} by ${by} (worker ${worker})`);
  out += field("reason", reason);
  for (const [name, verdict] of Object.entries(verdicts ?? {})) out += field(name, JSON.stringify(verdict));
  for (const { name, value } of header?.add ?? []) out += field("adds", `${name}: ${value}`);
  for (const { name, authservId } of header?.remove ?? [])
    out += field("leaves out", authservId === undefined ? name : `${name} of ${authservId}`);
  await print(
    `${out}${colour.dim(`let it go: millrace quarantine release ${id}    give it up: millrace quarantine discard ${id}`)}\n`,
  );
}
