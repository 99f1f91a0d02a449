import { setTimeout as sleep } from "node:timers/promises";
import type { Ledger } from "./ledger.ts";
import type { LedgerReplay, ReplayedUnit } from "./ledger-replay.ts";
import type { Queues } from "./queues.ts";
import type { ReplayItem } from "./replay-items.ts";

/** Messages in flight above which a replay without a rate waits for the workers. */
const mostInFlight = 10_000;
/** Messages sent to Redis together. */
const together = 250;
/** Milliseconds between two batches of a paced replay. */
const tick = 20;

export interface ReplayOptions {
  /** Id of the run: in the journal, and for the next run to go on from. */
  run: string;
  /** Who replays: `user@host`. */
  by: string;
  /** Number of the run's last message before this start. */
  ordinal: number;
  /** Messages a second; as fast as the workers keep up when there is none. */
  rate?: number | undefined;
  /** Most messages to take in this run. */
  limit?: number | undefined;
  /** Ends the run after the batch under way. */
  signal: AbortSignal;
  progress?(count: ReplayCount): void;
}

export interface ReplayCount {
  /** Messages looked at. */
  seen: number;
  /** Messages that were given work. */
  replayed: number;
  /** Messages with nothing to run again: delivered already, or under way. */
  skipped: number;
  /** The selection was gone through to its end. */
  finished: boolean;
}

/**
 * Runs messages again: opens their units in the ledger and wakes the workers, at a rate, in order. What it has done is
 * recorded message by message; what it has not, a later run does.
 */
export async function replay(
  pipeline: { ledger: Pick<Ledger, "openCount">; replays: LedgerReplay; queues: Pick<Queues, "wake"> },
  items: AsyncIterable<ReplayItem>,
  options: ReplayOptions,
): Promise<ReplayCount> {
  const count: ReplayCount = { seen: 0, replayed: 0, skipped: 0, finished: false };
  const pace = new Pace(options.rate);
  const iterator = items[Symbol.asyncIterator]();
  let ordinal = options.ordinal;

  const take = async (most: number): Promise<ReplayItem[]> => {
    const batch: ReplayItem[] = [];
    while (batch.length < most) {
      const next = await iterator.next();
      if (next.done) {
        count.finished = true;
        break;
      }
      batch.push(next.value);
    }
    return batch;
  };
  const run = async (item: ReplayItem): Promise<void> => {
    const position = { run: options.run, ordinal: ++ordinal, position: item.position };
    const { manifest } = item;
    const units = recorded(item, options);
    const opened = await pipeline.replays.open(manifest, units, position);
    count.seen++;
    if (opened.length > 0) count.replayed++;
    else count.skipped++;
    for (const name of opened) {
      const replayed = units.get(name);
      await pipeline.queues.wake(
        { message: manifest.id, unit: name },
        replayed && { unit: replayed.unit, manifest },
      );
    }
  };

  while (!count.finished && !options.signal.aborted) {
    const left = (options.limit ?? Number.POSITIVE_INFINITY) - count.seen;
    if (left <= 0) break;
    const due = options.rate === undefined ? together : pace.due(count.seen);
    const most = Math.min(due, together, left);
    if (most > 0) await Promise.all((await take(most)).map(run));
    options.progress?.(count);
    if (options.rate !== undefined && due <= together) await sleep(tick);
    while (options.rate === undefined && !options.signal.aborted && (await isFull())) await sleep(100);
  }
  await iterator.return?.();
  return count;

  async function isFull(): Promise<boolean> {
    return (await pipeline.ledger.openCount()) > mostInFlight;
  }
}

/** How many are due by now at a rate. */
class Pace {
  private readonly perMs: number;
  private readonly started = performance.now();

  constructor(rate = 0) {
    this.perMs = rate / 1_000;
  }

  due(done: number): number {
    return Math.floor((performance.now() - this.started) * this.perMs) - done;
  }
}

function recorded(item: ReplayItem, { run, by }: ReplayOptions): Map<string, ReplayedUnit> {
  const at = Date.now();
  return new Map(
    [...item.units].map(([name, { unit, worker, job, target, effects }]) => {
      const data = { job, worker, ...(target === undefined ? {} : { target }), replay: run, by };
      return [name, { unit, effects, entry: { at, event: "job.replayed", worker: "replay", data } }];
    }),
  );
}
