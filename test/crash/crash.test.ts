import assert from "node:assert/strict";
import { tmpdir } from "node:os";
import { before, describe, test } from "node:test";
import { probePowerCut } from "./disk.ts";
import { kinds } from "./kinds.ts";
import { isRoot, missingFor } from "./kinds-on-this-machine.ts";
import { line } from "./report.ts";
import { runRounds } from "./rounds.ts";

/** `CRASH_SEED` and `CRASH_ROUNDS` (of each kind) say otherwise. */
const seed = process.env.CRASH_SEED ?? Math.random().toString(36).slice(2, 8);
const rounds = Number(process.env.CRASH_ROUNDS ?? 2);
/** Kinds at a time: most of a round is waiting for locks that a dead worker holds. */
const concurrency = 3;

describe(`the crash suite, seed ${seed}`, { concurrency }, () => {
  before(async () => {
    if (isRoot) await probePowerCut(tmpdir());
  });

  for (const kind of kinds) {
    const skip = missingFor(kind) ?? false;
    test(`${kind.name}: ${kind.about}`, { skip, timeout: rounds * 400_000 }, async (t) => {
      const results = await runRounds({
        seed,
        rounds: Array.from({ length: rounds }, (_, i) => i + 1),
        kinds: [kind],
        parallel: 1,
        disks: isRoot,
        keepGoing: false,
        keep: false,
        signal: t.signal,
        report: (result) => t.diagnostic(line(result)),
      });
      for (const { round, problems, kept } of results) {
        assert.deepEqual(
          problems,
          [],
          `kept in ${kept}; again: npm run test:crash -- --seed ${seed} --round ${round} --only ${kind.name}`,
        );
      }
      assert.equal(results.length, rounds);
    });
  }
});
