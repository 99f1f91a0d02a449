import { tmpdir } from "node:os";
import { resolve } from "node:path";
import { parseArgs } from "node:util";
import { probePowerCut } from "./disk.ts";
import type { Kind } from "./kind.ts";
import { kinds } from "./kinds.ts";
import { isRoot, missingFor } from "./kinds-on-this-machine.ts";
import { line, table } from "./report.ts";
import { runRounds } from "./rounds.ts";
import { closeAllSites } from "./site.ts";

const usage = `usage: npm run test:crash -- [options]
Does damage to whole installations under load, and checks after each round that no acknowledged mail was lost.
  --rounds N     rounds in all (${kinds.length}: each kind once)
  --seed S       what all chance comes from; the same seed draws the same rounds (a new one, printed)
  --round K      only this round of the seed; with the same --only as before
  --only LIST    some of the kinds, separated by commas
  --parallel P   installations side by side (3)
  --dir FOLDER   where they stand (the folder of temporary files)
  --keep-going   goes on after a round that failed
  --keep         leaves every installation's folder, not only that of one that failed
  --json         a line of JSON for each round
  --list         the kinds, and what each does
`;
const exitStatus = { ok: 0, failed: 1, usage: 64, unavailable: 69, interrupted: 130 };

const say = (text: string) => void process.stderr.write(`crash: ${text}\n`);
const options = readOptions();
process.env.TMPDIR = options.dir;
const chosen = usableKinds(options.only);
const interruption = new AbortController();
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
  process.on(signal, () => {
    say(`${signal}: ending everything that was started`);
    interruption.abort();
  });
}

if (isRoot) {
  await probePowerCut(options.dir);
  say("power cut probed: what was fsynced is there, what was not is gone");
}
const numbers = options.round
  ? [options.round]
  : Array.from({ length: options.rounds ?? chosen.length }, (_, i) => i + 1);
say(
  `seed ${options.seed}, ${numbers.length} rounds of ${chosen.length} kinds, ${options.parallel} at a time`,
);
const startedAt = performance.now();
const results = await runRounds({
  seed: options.seed,
  rounds: numbers,
  kinds: chosen,
  parallel: Math.min(options.parallel, numbers.length),
  disks: isRoot,
  keepGoing: options.keepGoing,
  keep: options.keep,
  signal: interruption.signal,
  report(result) {
    process.stdout.write(options.json ? `${JSON.stringify(result)}\n` : `${line(result)}\n`);
    for (const problem of result.problems.slice(0, 20)) say(`  ${problem}`);
    if (result.problems.length > 20)
      say(`  and ${result.problems.length - 20} more: failure.json has them all`);
    if (result.kept) say(`  kept in ${result.kept}; again: ${again(result.round)}`);
  },
});
await closeAllSites();
if (!options.json) process.stdout.write(`\n${table(results)}\n`);
const minutes = ((performance.now() - startedAt) / 60_000).toFixed(1);
const failed = results.filter(({ problems }) => problems.length > 0).length;
say(`seed ${options.seed}: ${results.length} rounds in ${minutes} minutes, ${failed} failed`);
process.exit(
  interruption.signal.aborted ? exitStatus.interrupted : failed > 0 ? exitStatus.failed : exitStatus.ok,
);

function again(round: number): string {
  const only = options.only ? ` --only ${options.only.join(",")}` : "";
  return `npm run test:crash -- --seed ${options.seed} --round ${round}${only}`;
}

/** The kinds that this machine lets us run; what it does not is said, never passed over. */
function usableKinds(only: readonly string[] | undefined): readonly Kind[] {
  const wanted = kinds.filter(({ name }) => only?.includes(name) ?? true);
  const left = wanted.filter((kind) => {
    const reason = missingFor(kind);
    if (reason) say(`NOT RUN: ${kind.name} ${reason}`);
    return reason === undefined;
  });
  if (left.length === 0) {
    say("there is nothing left to run");
    process.exit(exitStatus.unavailable);
  }
  return left;
}

function readOptions() {
  try {
    const { values } = parseArgs({
      options: {
        rounds: { type: "string" },
        seed: { type: "string" },
        round: { type: "string" },
        only: { type: "string" },
        parallel: { type: "string", default: "3" },
        dir: { type: "string", default: tmpdir() },
        "keep-going": { type: "boolean", default: false },
        keep: { type: "boolean", default: false },
        json: { type: "boolean", default: false },
        list: { type: "boolean", default: false },
        help: { type: "boolean", default: false },
      },
    });
    if (values.help) end(usage);
    if (values.list) end(kinds.map(({ name, about }) => `${name.padEnd(20)} ${about}\n`).join(""));
    const only = values.only?.split(",");
    const unknown = only?.find((name) => !kinds.some((kind) => kind.name === name));
    if (unknown !== undefined)
      throw new Error(`--only ${unknown}: there is no such kind; --list shows those there are`);
    const count = (name: "rounds" | "round" | "parallel"): number | undefined => {
      const value = values[name];
      if (value !== undefined && !/^[1-9]\d{0,6}$/.test(value))
        throw new Error(`--${name} ${value}: give a whole number from 1`);
      return value === undefined ? undefined : Number(value);
    };
    return {
      rounds: count("rounds"),
      round: count("round"),
      parallel: count("parallel") ?? 1,
      seed: values.seed ?? Math.random().toString(36).slice(2, 8),
      only,
      dir: resolve(values.dir),
      keepGoing: values["keep-going"],
      keep: values.keep,
      json: values.json,
    };
  } catch (error) {
    process.stderr.write(`${(error as Error).message}\n${usage}`);
    process.exit(exitStatus.usage);
  }
}

function end(text: string): never {
  process.stdout.write(text);
  process.exit(exitStatus.ok);
}
