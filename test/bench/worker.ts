import { execFile } from "node:child_process";
import { resolve } from "node:path";
import { promisify } from "node:util";
import { startRedis } from "../support/redis.ts";
import { give } from "./rate.ts";
import type { Row } from "./table.ts";

const program = resolve(import.meta.dirname, "../../libs/pipeline/testing/noop-rate.ts");
/** Jobs one process has in hand at once: of both kinds. */
const atOnce = 100;

/**
 * Jobs a second of a worker that does nothing, beside BullMQ by itself with the same options and the same Redis. They take
 * turns, each round in a process of its own, with all jobs there before it starts.
 */
export async function worker(options: {
  messages: number;
  rounds: number;
  peers: boolean;
  ours: boolean;
  say: (line: string) => void;
  interrupted: AbortSignal;
}): Promise<Row[]> {
  const { messages, rounds, say, interrupted } = options;
  const contestants = [
    ...(options.ours ? [{ kind: "millrace", system: "Millrace, defineWorker" }] : []),
    ...(options.peers ? [{ kind: "bare", system: "BullMQ alone" }] : []),
  ];
  const rows = contestants.map(({ kind, system }) => {
    const row: Row = {
      what: `a worker that does nothing, ${atOnce} at once`,
      system,
      unit: "jobs/s",
      values: [],
    };
    return { kind, row };
  });
  const redis = await startRedis();
  try {
    for (let round = 0; round <= rounds; round++) {
      for (const { kind, row } of rows.filter((each) => !each.row.note)) {
        interrupted.throwIfAborted();
        try {
          const jobs = round === 0 ? Math.ceil(messages / 2) : messages;
          const words = [program, kind, redis.url, String(jobs), String(atOnce)];
          const { stdout } = await promisify(execFile)(process.execPath, words, { signal: interrupted });
          // The first one does not count.
          if (round === 0) continue;
          row.values.push(jobs / Number(stdout));
          say(`worker: ${row.system}, round ${round}: ${Math.round(row.values.at(-1) as number)} jobs/s`);
        } catch (error) {
          give(row, error);
        }
      }
    }
  } finally {
    await redis.stop();
  }
  return rows.map(({ row }) => row);
}
