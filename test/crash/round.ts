import { setTimeout as sleep } from "node:timers/promises";
import { until } from "../support/until.ts";
import { auditProblems } from "./audit.ts";
import { judge } from "./checks.ts";
import type { Collector } from "./evidence.ts";
import { untilIdle } from "./idle.ts";
import type { Kind } from "./kind.ts";
import { Load, type Sent } from "./load.ts";
import type { Random } from "./random.ts";
import type { Site } from "./site.ts";

export interface RoundOptions {
  /** Names the round's mails. */
  name: string;
  random: Random;
  /** Milliseconds everything in flight may take to reach its end. */
  idleWithin?: number;
}

export interface RoundResult {
  kind: string;
  /** Milliseconds under load before the trouble began. */
  instant: number;
  /** What was done, each with its milliseconds after the load began. */
  done: string[];
  counts: Record<Sent["fate"]["state"], number>;
  repeats: number;
  seconds: number;
  problems: string[];
}

/** Milliseconds. The longest any round has to wait for by itself is 20 s, until a dead worker's jobs are free. */
const idleWithin = 180_000;
/** Milliseconds until mail is accepted before, and again after the trouble. */
const acceptedWithin = 90_000;

/** One round: load, trouble at a random instant, recovery, and then everything is counted. */
export async function runRound(
  site: Site,
  collector: Collector,
  kind: Kind,
  options: RoundOptions,
): Promise<RoundResult> {
  const startedAt = performance.now();
  const { random } = options;
  const instant = random.integer(50, 1_500);
  const done: string[] = [];
  const problems: string[] = [];
  const say = (text: string) => void done.push(`${text} at ${Math.round(performance.now() - startedAt)} ms`);

  const load = new Load({
    name: options.name,
    port: site.millrace.port,
    random: random.fork("load"),
    leaving: kind.leaving,
  });
  const accepted = async (more: number, when: string) => {
    const goal = load.acknowledged + more;
    await until(() => load.acknowledged >= goal, acceptedWithin).catch(() => {
      throw new Error(`no mail was accepted for ${acceptedWithin / 1_000} s ${when}`);
    });
  };
  try {
    await accepted(3, "at the start");
    await sleep(instant);
    await kind.strike({ site, load, random: random.fork("strike"), say });
    await accepted(5, "after it");
  } catch (error) {
    problems.push((error as Error).message);
  }
  const sent = await load.end();
  collector.sent.push(...sent);

  const unfinished = await untilIdle(site, options.idleWithin ?? idleWithin);
  if (unfinished) problems.push(unfinished.problem);
  if (kind.disks) collector.mistrustDisks();
  const evidence = await collector.collect().catch((error: Error) => {
    throw new Error([...problems, error.message].join("; then: "), { cause: error });
  });
  const verdict = judge(evidence, unfinished?.inFlight);
  const repeated = verdict.repeated.filter((line) => !collector.repeated.has(line));
  for (const line of repeated) collector.repeated.add(line);
  problems.push(...verdict.problems, ...(await auditProblems(site, collector.acknowledged())));
  if (!kind.repeats) problems.push(...repeated);
  await kind.after?.(site);
  return {
    kind: kind.name,
    instant,
    done,
    counts: countsOf(sent),
    repeats: repeated.length,
    seconds: (performance.now() - startedAt) / 1_000,
    problems,
  };
}

function countsOf(sent: readonly Sent[]): RoundResult["counts"] {
  const counts = { acknowledged: 0, refused: 0, unknown: 0, incomplete: 0, unanswered: 0 };
  for (const { fate } of sent) counts[fate.state]++;
  return counts;
}
