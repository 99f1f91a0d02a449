import { hostname } from "node:os";
import type { Redis } from "ioredis";
import { z } from "zod";
import { processesKey } from "./keys.ts";

/** One process that runs a worker, as of its last sign of life. */
const processSchema = z.object({
  v: z.literal(1),
  host: z.string(),
  pid: z.number().int(),
  version: z.string().optional(),
  /** Of the subscription it registered. */
  fingerprint: z.string(),
  concurrency: z.number().int(),
  /** Milliseconds since the epoch: its start, and this sign of life. */
  since: z.number(),
  at: z.number(),
  /** Runs since its start, by their end. */
  done: z.number().int(),
  deferred: z.number().int(),
  dead: z.number().int(),
  /** Runs that ended in "done", per second, over the last minute. */
  rate: z.number(),
});
export type WorkerProcess = z.infer<typeof processSchema>;

/** Milliseconds between two signs of life, and after which a process counts as gone. */
const every = 5_000;
export const goneAfter = 20_000;
/** Signs of life the rate is taken over. */
const window = 12;

/** How a run ended, as the processes count it. */
export type RunEnd = "done" | "deferred" | "dead";

/** The processes that run a worker now. */
export async function runningProcesses(redis: Redis, worker: string): Promise<WorkerProcess[]> {
  const all = await redis.hvals(processesKey(worker));
  return all
    .map((json) => processSchema.parse(JSON.parse(json)))
    .filter(({ at }) => Date.now() - at < goneAfter);
}

/** Takes a process of this machine off the list which does not run any more, or is about to end. */
export async function forgetProcess(redis: Redis, worker: string, pid: number): Promise<void> {
  const key = processesKey(worker);
  const mine = (await redis.hkeys(key)).filter((field) => field.startsWith(`${hostname()}:${pid}:`));
  if (mine.length > 0) await redis.hdel(key, ...mine);
}

let started = 0;

/** Tells of this process and its worker, now and every few seconds, until it is stopped. A Redis that is away misses some. */
export async function announceProcess(
  redis: Redis,
  worker: string,
  about: { version: string | undefined; fingerprint: string; concurrency: number },
): Promise<{ count(end: RunEnd): void; stop(): Promise<void> }> {
  const key = processesKey(worker);
  const [host, pid, since] = [hostname(), process.pid, Date.now()];
  // One process may run a worker more than once, as tests do.
  const field = `${host}:${pid}:${++started}`;
  const counts = { done: 0, deferred: 0, dead: 0 };
  const samples: { at: number; done: number }[] = [{ at: since, done: 0 }];
  let stopped = false;

  const tell = async () => {
    const at = Date.now();
    samples.push({ at, done: counts.done });
    if (samples.length > window + 1) samples.shift();
    const [first] = samples;
    const rate = first && at > first.at ? (1_000 * (counts.done - first.done)) / (at - first.at) : 0;
    const { version, ...rest } = about;
    const sign: WorkerProcess = {
      ...{ v: 1, host, pid, since, at, rate },
      ...(version === undefined ? {} : { version }),
      ...rest,
      ...counts,
    };
    const dead = Object.entries(await redis.hgetall(key)).filter(
      ([, json]) => at - processSchema.parse(JSON.parse(json)).at > goneAfter,
    );
    const step = redis
      .multi()
      .hset(key, field, JSON.stringify(sign))
      .pexpire(key, 2 * goneAfter);
    for (const [each] of dead) step.hdel(key, each);
    if (!stopped) await step.exec();
  };
  await tell();
  const timer = setInterval(() => void tell().catch(() => {}), every);
  timer.unref();
  return {
    count(end) {
      counts[end]++;
    },
    async stop() {
      stopped = true;
      clearInterval(timer);
      await redis.hdel(key, field).catch(() => {});
    },
  };
}
