import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { pathToFileURL } from "node:url";
import { Collector } from "./evidence.ts";
import { kinds } from "./kinds.ts";
import { seeded } from "./random.ts";
import { runRound } from "./round.ts";
import { closeAllSites, Site } from "./site.ts";

// The runner ends a file that takes too long by SIGTERM: it must not leave mounted file systems behind.
process.once("SIGTERM", () => void closeAllSites().finally(() => process.exit(1)));

/** A promise broken on purpose, and what the suite must say to it. */
interface Broken {
  what: string;
  /** The kind of round that must find it. */
  kind: string;
  /** Module of `broken/`, and the service it breaks. */
  module?: string;
  /** Done to the running installation before each round. */
  meddle?(site: Site): Promise<void>;
  found: RegExp;
}

const rounds = 8;
/** Milliseconds. An installation that has lost mail may never come to rest; what is only late does not count as lost. */
const idleWithin = 30_000;

const setAppendfsync = (value: string) => async (site: Site) => {
  // The edge asks Redis for its settings when it connects, so it does not notice.
  const redis = site.redisClient();
  await redis.config("SET", "appendfsync", value);
  redis.disconnect();
};

const broken: Broken[] = [
  {
    what: "a Redis that leaves fsync to the system (appendfsync no)",
    kind: "power-cut",
    meddle: setAppendfsync("no"),
    found: /LOST: acknowledged/,
  },
  {
    what: "a Redis that fsyncs once a second (appendfsync everysec)",
    kind: "power-cut",
    meddle: setAppendfsync("everysec"),
    found: /LOST: acknowledged/,
  },
  {
    what: "a store that skips fsync",
    kind: "power-cut",
    module: "without-fsync.ts?store",
    found: /LOST: acknowledged/,
  },
  {
    what: "a deliver that skips fsync",
    kind: "power-cut",
    module: "without-fsync.ts?deliver",
    found: /not delivered to maildir|DAMAGED: maildir|without our id.* at maildir/,
  },
  {
    what: "an edge that says 250 before the commit",
    kind: "kill-edge",
    module: "answer-before-commit.ts?edge",
    found: /LOST: acknowledged/,
  },
  {
    what: "an edge that commits before the last chunk",
    kind: "kill-parse",
    module: "commit-without-last-chunk.ts?edge",
    found: /DAMAGED: stored/,
  },
];

const notRoot = process.getuid?.() !== 0 && "the power cut needs root";

describe("a promise that is broken is found out", { concurrency: 2, skip: notRoot }, () => {
  for (const { what, kind: name, module, meddle, found } of broken) {
    test(`${what}: by ${name}`, { timeout: 900_000 }, async () => {
      const kind = kinds.find((each) => each.name === name);
      assert.ok(kind);
      const env: Record<string, string> = module
        ? { NODE_OPTIONS: `--import=${pathToFileURL(import.meta.dirname)}/broken/${module}` }
        : {};
      const site = await Site.open({ shape: "plain", disks: true, env });
      try {
        const collector = new Collector(site);
        const problems: string[] = [];
        for (let round = 1; round <= rounds && !problems.some((line) => found.test(line)); round++) {
          await meddle?.(site);
          const random = seeded(`${what} ${round}`);
          const result = await runRound(site, collector, kind, {
            name: `broken ${round}`,
            random,
            idleWithin,
          });
          problems.push(...result.problems);
          process.stderr.write(`${what}, round ${round}: ${result.problems.length} problems found\n`);
        }
        assert.ok(
          problems.some((line) => found.test(line)),
          `${rounds} rounds have not found it, only: ${problems.join("\n")}`,
        );
      } finally {
        await site.close();
      }
    });
  }
});
