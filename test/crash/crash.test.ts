import assert from "node:assert/strict";
import { tmpdir } from "node:os";
import { after, before, describe, test } from "node:test";
import { probePowerCut } from "./disk.ts";
import { kinds } from "./kinds.ts";
import { isRoot, missingFor } from "./kinds-on-this-machine.ts";
import { line } from "./report.ts";
import { type NumberedResult, runRounds } from "./rounds.ts";
import { closeAllSites } from "./site.ts";

// The runner ends a file that takes too long by SIGTERM: it must not leave mounted file systems behind.
process.once("SIGTERM", () => void closeAllSites().finally(() => process.exit(1)));

/** `CRASH_SEED` and `CRASH_ROUNDS` (of each kind) say otherwise. */
const seed = process.env.CRASH_SEED ?? Math.random().toString(36).slice(2, 8);
const rounds = Number(process.env.CRASH_ROUNDS ?? 2);
/** Installations side by side: most of a round is waiting for locks that a dead worker holds. */
const parallel = 3;

const usable = kinds.filter((kind) => missingFor(kind) === undefined);
const ending = new AbortController();
const seen = new Map<string, NumberedResult[]>();
const done = new Map(usable.map(({ name }) => [name, Promise.withResolvers<NumberedResult[]>()]));
let running: Promise<unknown> | undefined;

function note(result: NumberedResult): void {
  // Also a sign of life: the tests of all kinds wait for the second half of the rounds.
  process.stderr.write(`${line(result)}\n`);
  const results = [...(seen.get(result.kind) ?? []), result];
  seen.set(result.kind, results);
  if (results.length === rounds) done.get(result.kind)?.resolve(results);
}

// The same rounds as those of `npm run test:crash -- --seed S`; each test waits for those of its kind.
describe(`the crash suite, seed ${seed}`, { concurrency: kinds.length }, () => {
  before(async () => {
    if (isRoot) await probePowerCut(tmpdir());
    running = runRounds({
      ...{ seed, parallel, kinds: usable, disks: isRoot, keepGoing: true, keep: false },
      rounds: Array.from({ length: rounds * usable.length }, (_, i) => i + 1),
      signal: ending.signal,
      report: note,
    });
    running.catch((error: Error) => {
      for (const { reject } of done.values()) reject(error);
    });
  });
  after(async () => {
    ending.abort();
    await running?.catch(() => {});
  });

  for (const kind of kinds) {
    const skip = missingFor(kind) ?? false;
    test(`${kind.name}: ${kind.about}`, { skip, timeout: rounds * 600_000 }, async () => {
      for (const result of (await done.get(kind.name)?.promise) ?? []) {
        const again = `kept in ${result.kept}; again: npm run test:crash -- --seed ${seed} --round ${result.round}`;
        assert.deepEqual(result.problems, [], again);
      }
    });
  }
});
