import { setTimeout as sleep } from "node:timers/promises";
import type { Logger } from "@millrace/service";
import type { Redis } from "ioredis";
import { z } from "zod";
import { refusingKey } from "./keys.ts";
import { type PressureFigures, readFigures } from "./pressure-figures.ts";
import { type Gauge, gaugesOf, memoryGauge, memoryMarks, type PressureSettings } from "./pressure-marks.ts";

/** Milliseconds between two looks. */
const every = 250;
/** Milliseconds between two words to whoever asks (`millrace status`) that mail is refused, and how long one counts. */
const tellEvery = 1_000;
const tellFor = 4_000;
/** Octets of Redis's memory for one octet of a body, and for a message beside its body: manifest, work, jobs, journal. */
const perOctet = 1.25;
const perMessage = 4_096;

/** Whether there is room for mail, as one edge sees it. */
export interface Pressure {
  /** Why no new message is to be taken in; undefined when there is room. Costs nothing to ask. */
  full(): string | undefined;
  /** Why not even a message under way is to be taken in: what is left is for mail accepted before. */
  exhausted(): string | undefined;
  /** Tells what this edge has written to Redis since the last look: a burst must not jump over the marks. */
  wrote(octets: number): void;
  /** The same for a message accepted. */
  accepted(): void;
  /** Looks now. @throws when Redis does not answer */
  look(): Promise<void>;
  close(): void;
}

const refusingSchema = z.object({ v: z.literal(1), reasons: z.array(z.string()) });

/** Watches everything that can fill up. Logs once when a mark is passed, and once when it is well again. */
export function watchPressure(redis: Redis, settings: PressureSettings, log: Logger): Pressure {
  const marks = memoryMarks(settings);
  let figures: PressureFigures | undefined;
  let since = { octets: 0, messages: 0 };
  let closed = false;
  let told = Number.NEGATIVE_INFINITY;
  /** Those that have passed their high mark and are not below their low mark yet. */
  const passed = new Map<string, Gauge>();

  const memory = () => {
    if (!figures) return undefined;
    const { used, ...rest } = figures.memory;
    return { ...rest, used: used + perOctet * since.octets + perMessage * since.messages };
  };

  const judge = (gauge: Gauge): void => {
    const { name, above, below, says, cure } = gauge;
    if (passed.has(name) && below) {
      passed.delete(name);
      log.info({ mark: name, says, refusing: [...passed.keys()] }, "below its low mark again");
    } else if (above || passed.has(name)) {
      if (!passed.has(name)) log.warn({ mark: name, says, cure }, "refusing new mail with 452");
      passed.set(name, gauge);
    }
  };

  const lookOnce = async (): Promise<void> => {
    const before = since;
    const found = await readFigures(redis);
    // What was written before the question is in its answer.
    since = { octets: since.octets - before.octets, messages: since.messages - before.messages };
    figures = found;
    const gauges = gaugesOf(found, settings);
    for (const gauge of gauges) judge(gauge);
    // A disk nobody reports on any more: whoever did is down, and then the backlog is what counts.
    for (const name of passed.keys()) {
      if (gauges.some((gauge) => gauge.name === name)) continue;
      passed.delete(name);
      log.info({ mark: name, refusing: [...passed.keys()] }, "not reported any more");
    }
    if (passed.size > 0 && performance.now() - told > tellEvery) {
      told = performance.now();
      const value = { v: 1, reasons: [...passed.values()].map(({ says }) => says) };
      // When Redis has no room for this either, its figures say it all.
      redis.set(refusingKey, JSON.stringify(value), "PX", tellFor).catch(() => {});
    }
  };

  let looking: Promise<void> | undefined;
  const look = (): Promise<void> => {
    looking ??= lookOnce().finally(() => {
      looking = undefined;
    });
    return looking;
  };

  let blind: string | undefined;
  const loop = async () => {
    while (!closed) {
      await sleep(every, undefined, { ref: false });
      if (closed) return;
      const reason = await look().then(
        () => undefined,
        (error: Error) => error.message,
      );
      // A Redis that is away is noticed elsewhere; one that does not let us look is worth a word, once.
      if (reason !== blind && redis.status === "ready") {
        if (reason) log.warn({ reason }, "cannot see how full Redis is");
        blind = reason;
      }
    }
  };
  void loop();

  return {
    full() {
      const estimate = memory();
      // Asked for each message: its words are for one that is refused.
      const wrote = since.octets + since.messages > 0;
      if (estimate && wrote && estimate.used >= marks.high * estimate.limit)
        judge(memoryGauge({ memory: estimate }, settings));
      return passed.size > 0 ? [...passed.values()].map(({ says }) => says).join("; ") : undefined;
    },
    exhausted() {
      const estimate = memory();
      if (!estimate || estimate.used < marks.underWay * estimate.limit) return undefined;
      return memoryGauge({ memory: estimate }, settings).says;
    },
    wrote(octets) {
      since = { ...since, octets: since.octets + octets };
    },
    accepted() {
      since = { ...since, messages: since.messages + 1 };
    },
    look,
    close() {
      closed = true;
    },
  };
}

/** What `millrace status` shows of it: the figures, and why mail is refused, as the edges say it or else the figures. */
export async function readPressure(redis: Redis, settings: PressureSettings) {
  const [figures, told] = await Promise.all([readFigures(redis), redis.get(refusingKey)]);
  const refusing = told === null ? undefined : refusingSchema.safeParse(JSON.parse(told));
  const above = gaugesOf(figures, settings).filter((gauge) => gauge.above);
  const reasons = refusing?.success ? refusing.data.reasons : above.map(({ says }) => says);
  const { high, low } = memoryMarks(settings);
  return { ...figures, marks: { memoryHigh: high, memoryLow: low }, reasons };
}
