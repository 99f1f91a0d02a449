import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { Collector } from "./evidence.ts";
import type { Kind } from "./kind.ts";
import { seeded } from "./random.ts";
import { type RoundResult, runRound } from "./round.ts";
import { Site } from "./site.ts";

export interface SuiteOptions {
  seed: string;
  /** Numbers of the rounds to run, from 1. */
  rounds: readonly number[];
  kinds: readonly Kind[];
  /** Installations that are worked on side by side. */
  parallel: number;
  /** Whether installations get disks of their own. */
  disks: boolean;
  keepGoing: boolean;
  /** Whether every installation's folder stays, not only that of one that failed. */
  keep: boolean;
  signal: AbortSignal;
  report(round: NumberedResult): void;
}

export interface NumberedResult extends RoundResult {
  round: number;
  /** Folder of the installation, when it was kept. */
  kept?: string | undefined;
}

/** Rounds an installation is used for: long enough to grow old, short enough for all its mail to be looked at each time. */
const roundsPerSite = 20;

/** The kind of a round: each once in as many rounds as there are kinds, in an order that the seed decides. */
export function kindOf(round: number, seed: string, kinds: readonly Kind[]): Kind {
  const cycle = Math.floor((round - 1) / kinds.length);
  const order = seeded(`${seed}/cycle ${cycle}`).shuffled(kinds);
  return order[(round - 1) % kinds.length] as Kind;
}

/** Runs rounds, several installations side by side. Resolves with all results when everything is cleaned up. */
export async function runRounds(options: SuiteOptions): Promise<NumberedResult[]> {
  const waiting = [...options.rounds];
  const results: NumberedResult[] = [];
  let failed = false;
  const interrupted = new Promise<undefined>((resolve) => {
    options.signal.addEventListener("abort", () => resolve(undefined), { once: true });
  });
  const lane = async () => {
    const workplace = new Workplace(options);
    try {
      for (let round = waiting.shift(); round !== undefined; round = waiting.shift()) {
        if (options.signal.aborted || (failed && !options.keepGoing)) break;
        const result = await Promise.race([workplace.run(round), interrupted]);
        if (!result) break;
        failed ||= result.problems.length > 0;
        results.push(result);
        options.report(result);
      }
    } finally {
      await workplace.leave();
    }
  };
  const ended = await Promise.allSettled(Array.from({ length: options.parallel }, lane));
  for (const each of ended) if (each.status === "rejected") throw each.reason;
  return results.sort((a, b) => a.round - b.round);
}

/** Where one installation after the other stands, each used for as long as it is healthy and of the right shape. */
class Workplace {
  private readonly options: SuiteOptions;
  private site: Site | undefined;
  private collector: Collector | undefined;
  private used = 0;

  constructor(options: SuiteOptions) {
    this.options = options;
  }

  /** Never throws: what breaks the round itself is a problem of the round. */
  async run(round: number): Promise<NumberedResult> {
    const { seed, kinds } = this.options;
    const kind = kindOf(round, seed, kinds);
    const result = await this.attempt(round, kind);
    if (result.problems.length === 0) return result;
    const folder = this.site?.folder;
    if (folder) writeFileSync(join(folder, "failure.json"), JSON.stringify({ seed, ...result }, null, 2));
    await this.leave(true);
    return { ...result, kept: folder };
  }

  private async attempt(round: number, kind: Kind): Promise<NumberedResult> {
    const { seed } = this.options;
    try {
      const { site, collector } = await this.siteFor(kind);
      this.used++;
      const random = seeded(`${seed}/round ${round} ${kind.name}`);
      return { round, ...(await runRound(site, collector, kind, { name: `${seed} ${round}`, random })) };
    } catch (error) {
      const counts = { acknowledged: 0, refused: 0, unknown: 0, incomplete: 0, unanswered: 0 };
      const problems = [`the round broke off: ${(error as Error).stack}`];
      return { round, kind: kind.name, instant: 0, done: [], counts, repeats: 0, seconds: 0, problems };
    }
  }

  async leave(keep = this.options.keep): Promise<void> {
    const { site } = this;
    this.site = undefined;
    await site?.close(keep);
  }

  private async siteFor(kind: Kind): Promise<{ site: Site; collector: Collector }> {
    const shape = kind.shape ?? "plain";
    if (this.site && (this.site.shape !== shape || this.used >= roundsPerSite)) await this.leave();
    if (!this.site || !this.collector) {
      this.site = await Site.open({ shape, disks: this.options.disks });
      this.collector = new Collector(this.site);
      this.used = 0;
    }
    return { site: this.site, collector: this.collector };
  }
}
