import { type ReplayCount, replay } from "@millrace/pipeline/runtime";
import type { Command } from "commander";
import { addFilters, filtersOf, typedFilters } from "../filters.ts";
import { positiveNumber } from "../numbers.ts";
import { count, Progress } from "../progress.ts";
import { CommandError, print, printJson, table } from "../terminal.ts";
import { confirmed, journalArchived, type Working, whoami, withPipeline } from "../working.ts";
import { type Choice, choose, type Question } from "./choice.ts";
import { type Left, runIdOf, runsOf } from "./run-record.ts";

interface ReplayOptions extends Record<string, unknown> {
  all?: boolean;
  force?: boolean;
  dryRun?: boolean;
  rate?: number;
  limit?: number;
  restart?: boolean;
  yes?: boolean;
  json?: boolean;
}

/** Rows a dry run shows. */
const sampleSize = 5;
/** Exit status of a command that Ctrl-C has ended: 128 and the number of SIGINT. */
const interrupted = 130;

export function addReplayCommand(program: Command): void {
  const command = program
    .command("replay")
    .description("run jobs again: dead letters, or any stored message through a worker (--all)")
    .argument(
      "[ids...]",
      "numbers of dead letters; or ids of messages (`last`: the newest): their dead letters, with --worker the messages themselves",
    );
  addFilters(command)
    .option("--all", "every stored message that fits, through --worker: a new worker over old mail")
    .option("--force", "with --worker deliver: also to targets that have the message already")
    .option("--rate <n>", "so many messages a second (default: as fast as the workers keep up)", rate)
    .option("--limit <n>", "no more than so many", positiveNumber)
    .option("--dry-run", "only say how many, and show the first")
    .option("--restart", "from the beginning, even if a run with the same choice was stopped half way")
    .option("--yes", "do not ask")
    .option("--json", "as JSON")
    .addHelpText("after", examples)
    .action((ids: string[], options: ReplayOptions) => withPipeline((working) => run(working, ids, options)));
}

const examples = `
Examples:
  millrace replay 17 18                                   two dead letters
  millrace replay --error ECONNREFUSED --since 2h         those of an outage
  millrace replay --all --worker invoices --since 30d     a new worker over a month of mail
  millrace replay 01m8... --worker deliver --force        deliver one message again
  millrace replay last --worker invoices                  the newest message, through one worker

Ctrl-C stops cleanly; the same command goes on from there. A delivery that is made again
carries the same delivery id.`;

function rate(text: string): number {
  return positiveNumber(text.replace(/\/s$/, ""));
}

async function run(working: Working, given: readonly string[], options: ReplayOptions): Promise<void> {
  const ids = given.map((id) => (id === "last" ? newestMessage(working) : id));
  const asked: Question = {
    ...{ ids, filters: filtersOf(options) },
    ...{ all: options.all ?? false, force: options.force ?? false },
  };
  const runs = runsOf(working);
  const id = runIdOf(asked, typedFilters(options));
  // What an earlier replay has brought to its end must not be chosen once more.
  await journalArchived(working);
  const left = options.restart || options.dryRun ? undefined : await runs.find(id);
  const question = left ? { ...asked, filters: left.record.filters } : asked;
  const choice = choose(working, question, left?.record.newest);
  if (options.dryRun) return preview(choice, options.json ?? false);

  if (left) {
    const { by, at, total } = left.record;
    process.stderr.write(
      `millrace: going on with the replay that ${by} began at ${at}: ${count(left.ordinal)} of ${count(total)} are done (--restart begins again)\n`,
    );
  } else {
    if (choice.total === 0) return report({ id, choice, left }, nothing, options.json ?? false);
    // Who names one thing has decided; a question is for what filters come to.
    const one = ids.length === 1 && choice.total === 1;
    if (!one && !(await confirmed(`Replay ${choice.what}?`, options.yes)))
      throw new CommandError("nothing was replayed");
    const { total, newest } = choice;
    await runs.begin(id, {
      by: whoami(),
      at: new Date().toISOString(),
      total,
      newest,
      filters: asked.filters,
    });
  }
  const started = performance.now();
  const done = await replayed(working, { id, choice, left }, options);
  const seconds = (performance.now() - started) / 1_000;
  if (done.finished) await runs.end(id);
  await report({ id, choice, left }, { ...done, seconds }, options.json ?? false);
}

function newestMessage({ pipeline }: Working): string {
  const [newest] = pipeline.mailstore.list({ limit: 1 });
  if (newest) return newest.id;
  throw new CommandError("there is no message in the mail store yet; `millrace send` sends one");
}

interface Run {
  id: string;
  choice: Choice;
  left: Left | undefined;
}

type Done = ReplayCount & { seconds: number };

const nothing: Done = { seen: 0, replayed: 0, skipped: 0, finished: true, seconds: 0 };

function totalOf({ choice, left }: Run): number {
  return left?.record.total ?? choice.total;
}

async function replayed({ pipeline }: Working, run: Run, options: ReplayOptions): Promise<ReplayCount> {
  const stop = new AbortController();
  const interrupt = () => {
    process.exitCode = interrupted;
    stop.abort();
  };
  const ordinal = run.left?.ordinal ?? 0;
  const progress = new Progress("replayed", totalOf(run));
  process.once("SIGINT", interrupt);
  process.once("SIGTERM", interrupt);
  try {
    return await replay(pipeline, run.choice.items(run.left?.position), {
      ...{
        run: run.id,
        by: whoami(),
        ordinal,
        rate: options.rate,
        limit: options.limit,
        signal: stop.signal,
      },
      progress: ({ seen }) => progress.at(ordinal + seen),
    });
  } finally {
    progress.end();
    process.off("SIGINT", interrupt);
    process.off("SIGTERM", interrupt);
  }
}

async function preview(choice: Choice, json: boolean): Promise<void> {
  const { total, groups } = choice;
  const sample = choice.sample(sampleSize);
  if (json) return printJson({ selected: total, groups, sample });
  await print(`would replay ${choice.what}\n`);
  if (groups.length > 1) {
    const rows = groups.map((group) => [count(group.count), group.worker, group.error]);
    await print(`\n${table(["count", "worker", "error"], rows)}`);
  }
  const [first] = sample;
  if (first)
    await print(
      `\n${table(
        Object.keys(first),
        sample.map((row) => Object.values(row)),
      )}`,
    );
  if (total > sample.length) await print(`and ${count(total - sample.length)} more\n`);
}

async function report(run: Run, done: Done, json: boolean): Promise<void> {
  const { replayed, skipped, finished, seconds } = done;
  if (json) return printJson({ run: run.id, selected: totalOf(run), replayed, skipped, finished, seconds });
  if (totalOf(run) === 0) return print(`nothing to replay: there are ${run.choice.what}\n`);
  const speed = seconds > 1 ? `, ${count(Math.round(done.seen / seconds))}/s` : "";
  await print(`replayed ${count(replayed)} of ${run.choice.what}${speed}\n`);
  if (skipped > 0) {
    await print(
      `${count(skipped)} had nothing to run again: delivered already, under way, held back, or without a route\n`,
    );
  }
  if (!finished) {
    const through = (run.left?.ordinal ?? 0) + done.seen;
    await print(
      `stopped after ${count(through)} of ${count(totalOf(run))}; the same command goes on from there\n`,
    );
  }
}
