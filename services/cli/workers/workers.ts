import { removeWorker, type WorkerState, workerState } from "@millrace/pipeline/runtime";
import type { Command } from "commander";
import { count, Progress } from "../progress.ts";
import { CommandError, colour, duration, print, printJson, table } from "../terminal.ts";
import { confirmed, journalArchived, type Working, whoami, withPipeline } from "../working.ts";

/** Workers without which no message reaches its end. */
const stages = ["parse", "store", "deliver"];

interface Options {
  json?: boolean;
  yes?: boolean;
}

export function addWorkersCommand(program: Command): void {
  const workers = program
    .command("workers")
    .description(
      "the workers that have subscribed: what waits for them, how they run; pause, resume, remove",
    );
  workers
    .command("list", { isDefault: true })
    .description("all of them, with their backlog, its oldest age, rate, failures and versions")
    .option("--json", "as JSON")
    .action((options: Options) => withPipeline((working) => list(working, options)));
  workers
    .command("show")
    .description("one of them: subscription, filter, figures, processes")
    .argument("<worker>")
    .option("--json", "as JSON")
    .action((name: string, options: Options) => withPipeline((working) => show(working, name, options)));
  workers
    .command("pause")
    .description("let it stand still, in all its processes: work for it waits")
    .argument("<worker>")
    .action((name: string) => withPipeline((working) => pause(working, name, true)));
  workers
    .command("resume")
    .description("let it go on")
    .argument("<worker>")
    .action((name: string) => withPipeline((working) => pause(working, name, false)));
  workers
    .command("remove")
    .description("end its subscription, and drop what waits for it; asks first, and says what that is")
    .argument("<worker>")
    .option("-y, --yes", "don't ask")
    .option("--json", "as JSON")
    .action((name: string, options: Options) => withPipeline((working) => remove(working, name, options)));
}

/** A worker's state and what has become of its work. */
interface Row extends WorkerState {
  deadLetters: number;
}

async function stateOf({ pipeline }: Working, name: string): Promise<Row> {
  const subscription = pipeline.subscriptions.of(name);
  if (!subscription) {
    const known = pipeline.subscriptions.all().map(({ worker }) => worker);
    throw new CommandError(
      `no worker ${JSON.stringify(name)} has subscribed here: those that have are ${known.join(", ") || "none"}`,
    );
  }
  const state = await workerState(pipeline, subscription);
  return { ...state, deadLetters: pipeline.mailstore.countDeadLetters({ worker: name }).total };
}

/** As `--json` prints it. */
function printed({ subscription, processes, oldestMs, paused, ...rest }: Row) {
  const { worker, events, where, since } = subscription;
  const sum = (pick: (each: (typeof processes)[number]) => number) =>
    processes.reduce((total, each) => total + pick(each), 0);
  return {
    worker,
    on: events,
    where: where ?? null,
    since: new Date(since).toISOString(),
    state: paused ? "paused" : processes.length > 0 ? "running" : "down",
    ...rest,
    oldestMs,
    /** Over the last minute, all processes together. */
    donePerSecond: sum(({ rate }) => rate),
    /** Failed attempts of the processes that run now, since they started. */
    failedAttempts: sum(({ deferred, dead }) => deferred + dead),
    versions: [...new Set(processes.map(({ version }) => version ?? ""))].filter(Boolean),
    processes: processes.map(({ host, pid, version, concurrency, since: at, done, deferred, dead }) => {
      const started = new Date(at).toISOString();
      return { host, pid, version: version ?? null, concurrency, since: started, done, deferred, dead };
    }),
  };
}

async function list(working: Working, options: Options): Promise<void> {
  const names = working.pipeline.subscriptions.all().map(({ worker }) => worker);
  const rows = (await Promise.all(names.map((name) => stateOf(working, name)))).map(printed);
  if (options.json) return printJson(rows);
  await print(
    table(
      [
        "worker",
        "state",
        "waiting",
        "active",
        "delayed",
        "oldest",
        "done/s",
        "failed",
        "dead",
        "version",
        "on",
      ],
      rows.map((row) => [
        row.worker,
        row.state,
        ...[row.waiting, row.active, row.delayed].map(count),
        row.oldestMs === null ? "-" : duration(row.oldestMs),
        row.donePerSecond.toFixed(1),
        ...[row.failedAttempts, row.deadLetters].map(count),
        row.versions.join(", ") || "-",
        row.on.join(", "),
      ]),
    ),
  );
}

async function show(working: Working, name: string, options: Options): Promise<void> {
  const row = printed(await stateOf(working, name));
  if (options.json) return printJson(row);
  const line = (word: string, value: string) => `${colour.dim(word.padEnd(10))}${value}\n`;
  const oldest = row.oldestMs === null ? "" : `, the oldest ${duration(row.oldestMs)} old`;
  const dead = row.deadLetters > 0 ? `: millrace dead-letters list --worker ${row.worker}` : "";
  await print(
    line("worker", `${row.worker}, ${row.state}`) +
      line("on", row.on.join(", ")) +
      line("where", row.where === null ? "every message" : JSON.stringify(row.where)) +
      line("since", row.since) +
      line(
        "work",
        `${count(row.waiting)} waiting, ${count(row.active)} active, ${count(row.delayed)} due later${oldest}`,
      ) +
      line("rate", `${row.donePerSecond.toFixed(1)} done a second over the last minute`) +
      line("dead", `${count(row.deadLetters)} dead letters${dead}`),
  );
  if (row.processes.length === 0) return print("no process of it runs: what comes for it waits\n");
  await print(
    `\n${table(
      ["host", "pid", "version", "at once", "since", "done", "deferred", "dead"],
      row.processes.map(({ host, pid, version, concurrency, since, done, deferred, dead: died }) => [
        ...[host, String(pid), version ?? "-", String(concurrency), since],
        ...[done, deferred, died].map(count),
      ]),
    )}`,
  );
}

async function pause(working: Working, name: string, still: boolean): Promise<void> {
  const { waiting, delayed, paused } = await stateOf(working, name);
  const { queues } = working.pipeline;
  const work = `${count(waiting + delayed)} pieces of work wait`;
  if (still) {
    await queues.pause(name);
    const cost = stages.includes(name) ? "; no message reaches its end without it" : "";
    return print(
      `${name} ${paused ? "stood still already" : "is paused"}: ${work}, and what comes does too${cost}\n`,
    );
  }
  await queues.resume(name);
  await print(`${name} ${paused ? "goes on" : "was not paused"}: ${work}\n`);
}

async function remove(working: Working, name: string, options: Options): Promise<void> {
  if (stages.includes(name)) {
    throw new CommandError(
      `${name} is one of the stages every message goes through, and can't be removed; \`millrace workers pause ${name}\` lets it stand still`,
      2,
    );
  }
  const { waiting, active, delayed, deadLetters, processes } = await stateOf(working, name);
  const open = waiting + active + delayed;
  const drops = `${count(open)} pieces of work that wait for it are dropped`;
  const stays = `its ${count(deadLetters)} dead letters and all messages stay`;
  if (!(await confirmed(`Remove ${name}? ${drops}; ${stays}.`, options.yes))) {
    throw new CommandError("nothing was removed");
  }
  const progress = new Progress("dropped", open);
  const dropped = await removeWorker(working.pipeline, name, whoami(), (done) => progress.at(done));
  progress.end();
  await journalArchived(working);
  if (options.json) await printJson({ worker: name, dropped, deadLetters });
  else await print(`removed ${name}: ${count(dropped)} pieces of work dropped; ${stays}\n`);
  if (processes.length > 0) {
    const where = processes.map(({ host, pid }) => `${host}:${pid}`).join(", ");
    process.stderr.write(
      `millrace: ${processes.length} of its processes still run (${where}): they get nothing more, but would subscribe again when they are started again; stop them\n`,
    );
  }
}
