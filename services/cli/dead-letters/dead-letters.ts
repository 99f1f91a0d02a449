import type { DeadLetter } from "@millrace/mailstore";
import type { Command } from "commander";
import { addFilters, describeFilters, type Filters, filtersOf } from "../filters.ts";
import { positiveNumber } from "../numbers.ts";
import { count } from "../progress.ts";
import { type Reading, withReading } from "../reading.ts";
import { CommandError, colour, print, printable, printJson, table } from "../terminal.ts";
import { withPipeline } from "../working.ts";
import { type AttemptLine, attemptsOf } from "./attempts.ts";
import { discard } from "./discard.ts";

const page = 500;

interface ListOptions extends Record<string, unknown> {
  limit: number;
  all?: boolean;
  json?: boolean;
}

export function addDeadLettersCommand(program: Command): void {
  const deadLetters = program
    .command("dead-letters")
    .description(
      "jobs that will not be tried again by themselves: look at them, give them up (`replay` runs them again)",
    );
  addFilters(deadLetters.command("list").description("newest first"))
    .option("--limit <n>", "how many", positiveNumber, 50)
    .option("--all", "every one")
    .option("--json", "one JSON array")
    .action((options: ListOptions) => withReading((reading) => list(reading, options)));
  deadLetters
    .command("show")
    .description(
      "one dead letter: what it was, why it ended, every attempt with its time, duration and reply",
    )
    .argument("<number>", "its number in the list", positiveNumber)
    .option("--json", "as JSON")
    .action((number: number, options: { json?: boolean }) =>
      withReading((reading) => show(reading, number, options.json ?? false)),
    );
  addFilters(
    deadLetters
      .command("discard")
      .description("give dead letters up: they are kept in the journal of their messages, and nowhere else")
      .argument(
        "[numbers...]",
        "their numbers in the list, instead of filters or beside them",
        (text: string, all: number[] | undefined) => [...(all ?? []), positiveNumber(text)],
      ),
  )
    .option("--reason <text>", "why, for the journal")
    .option("--dry-run", "only say which")
    .option("--yes", "do not ask")
    .option("--json", "as JSON")
    .action((numbers: number[] | undefined, options) =>
      withPipeline((working) => discard(working, numbers ?? [], filtersOf(options), options)),
    );
}

async function list({ mailstore, live }: Reading, options: ListOptions): Promise<void> {
  const filters = filtersOf(options);
  const limit = options.all ? Number.POSITIVE_INFINITY : options.limit;
  const letters: DeadLetter[] = [];
  for (let before: number | undefined; letters.length < limit; ) {
    const found = mailstore.deadLetters(filters, {
      limit: Math.min(page, limit - letters.length),
      before,
      newestFirst: true,
    });
    letters.push(...found);
    before = found.at(-1)?.number;
    if (found.length < page) break;
  }
  const behind = (await live?.journal.length()) ?? 0;
  if (options.json) await printJson(letters);
  else await print(render(letters, mailstore.countDeadLetters(filters).total, filters));
  if (behind > 1_000) {
    process.stderr.write(
      `millrace: ${count(behind)} journal entries are on their way to the mail store; there may be more in a moment\n`,
    );
  }
}

function render(letters: DeadLetter[], total: number, filters: Filters): string {
  if (letters.length === 0) {
    const which = describeFilters(filters);
    return which ? `no dead letters with ${which}\n` : "no dead letters\n";
  }
  const rows = letters.map((letter) => [
    String(letter.number),
    letter.at.slice(0, 19).replace("T", " "),
    letter.message,
    letter.worker,
    letter.label ?? "",
    letter.code ?? letter.class,
    letter.recipients
      ? letter.recipients.length > 1
        ? `${letter.recipients[0]} +${letter.recipients.length - 1}`
        : (letter.recipients[0] ?? "")
      : "",
    letter.reply ?? letter.error,
  ]);
  let out = table(["number", "at", "message", "worker", "target", "error", "recipient", "reason"], rows);
  if (total > letters.length)
    out += colour.dim(
      `the newest ${count(letters.length)} of ${count(total)}; --limit N or --all shows more\n`,
    );
  return `${out}${colour.dim("`millrace dead-letters show <number>` tells more; `millrace replay` with the same filters runs them again\n")}`;
}

async function show({ mailstore }: Reading, number: number, json: boolean): Promise<void> {
  const [letter] = mailstore.deadLetters({ numbers: [number] }, { limit: 1 });
  if (!letter) {
    throw new CommandError(
      `there is no dead letter ${number}; it may have been replayed or discarded: \`millrace dead-letters list\` shows those there are`,
    );
  }
  const attempts = attemptsOf(letter, mailstore.journal(letter.message));
  if (json) return printJson({ ...letter, history: attempts });
  const field = (name: string, value: string | null) =>
    value === null || value === "" ? "" : `${colour.dim(name.padEnd(12))}${printable(value)}\n`;
  await print(
    field("number", String(letter.number)) +
      field("message", letter.message) +
      field("subject", letter.subject) +
      field("from", letter.sender === "" ? "<>" : letter.sender) +
      field("for", letter.recipients?.join(", ") ?? null) +
      field("worker", letter.worker) +
      field("job", letter.job) +
      field("target", letter.label && `${letter.label} (${letter.target})`) +
      field(
        "ended",
        `${letter.at} after ${letter.attempts ?? "?"} attempts, ${letter.permanent ? "a permanent failure" : "the last attempt failed"}`,
      ) +
      field("error", [letter.class, letter.code, letter.status].filter(Boolean).join(" ")) +
      field("reason", letter.error) +
      field("reply", letter.reply),
  );
  await print(`\n${table(["at", "attempt", "took", "what", "reply"], attempts.map(lineOf))}\n`);
  await print(
    `${colour.dim(`run it again: millrace replay ${letter.number}    give it up: millrace dead-letters discard ${letter.number}`)}\n`,
  );
}

function lineOf({ at, attempt, ms, event, reply }: AttemptLine): string[] {
  const took = ms === null ? "" : `${Math.round(ms)} ms`;
  return [at.slice(0, 23).replace("T", " "), attempt === null ? "" : String(attempt), took, event, reply];
}
