import { setTimeout as sleep } from "node:timers/promises";
import type { Logger } from "@millrace/service";
import type { Redis } from "ioredis";
import { type MemoryFigures, readMemory } from "./pressure-figures.ts";
import { defaultPressure, memoryMarks, type PressureSettings } from "./pressure-marks.ts";
import { Snooze } from "./worker.ts";

/** Milliseconds one look at Redis's memory counts, how long a run waits for room, and its pause after that. */
const looksEvery = 100;
const waitsFor = 30_000;
const pause = 1_000;

/**
 * Keeps a worker that adds to Redis from taking the room that others need to finish. The parser is such a one: with
 * the store down it would put a parsed copy beside every body, until Redis is full, and a full Redis lets nobody take
 * the job that would empty it.
 */
export interface MemoryRoom {
  /**
   * Waits until there is room for so many octets beside those that others were promised. The answer gives it back.
   * @throws Snooze when there is none for long, and the signal's reason when that is aborted
   */
  take(octets: number, signal: AbortSignal): Promise<() => void>;
}

export function memoryRoom(
  redis: Redis,
  log: Logger,
  settings: PressureSettings = defaultPressure,
): MemoryRoom {
  const { parse: mark } = memoryMarks(settings);
  let looking: Promise<MemoryFigures> | undefined;
  let promised = 0;
  let said = false;

  const look = (): Promise<MemoryFigures> => {
    looking ??= readMemory(redis).finally(() => setTimeout(() => (looking = undefined), looksEvery).unref());
    return looking;
  };

  return {
    async take(octets, signal) {
      const deadline = performance.now() + waitsFor;
      for (;;) {
        const { used, limit } = await look();
        const full = used >= mark * limit;
        if (used < 0.9 * mark * limit) said = false;
        // One at a time may always go while there is some: its size alone must not keep it here for ever.
        if (!full && (promised === 0 || used + promised + octets < mark * limit)) break;
        if (full && !said) {
          said = true;
          log.warn({ used, limit }, "Redis is nearly full: waiting for the store to give memory back");
        }
        signal.throwIfAborted();
        if (performance.now() > deadline) throw new Snooze(pause);
        await sleep(looksEvery, undefined, { ref: false });
      }
      promised += octets;
      return () => {
        promised -= octets;
      };
    },
  };
}
