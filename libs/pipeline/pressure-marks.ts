import type { Settings } from "@millrace/service";
import type { PressureFigures } from "./pressure-figures.ts";

/** The settings that say how full is too full. */
export type PressureSettings = Pick<
  Settings,
  "REDIS_MEMORY_HIGH_PERCENT" | "REDIS_MEMORY_LOW_PERCENT" | "MAX_BACKLOG_MESSAGES"
>;

export const defaultPressure: PressureSettings = {
  REDIS_MEMORY_HIGH_PERCENT: 70,
  REDIS_MEMORY_LOW_PERCENT: 60,
  MAX_BACKLOG_MESSAGES: 100_000,
};

/** One thing that can fill up. Above its high mark it keeps new mail out, until it is below its low mark. */
export interface Gauge {
  name: string;
  /** Beyond the high mark. */
  above: boolean;
  /** Within the low mark. */
  below: boolean;
  /** The figure and the limit, in words. */
  says: string;
  /** What an operator can do. */
  cure: string;
}

/**
 * Shares of Redis's memory. From `high` on no new mail is begun; between `high` and `underWay` what is being received
 * may end; between `underWay` and `parse` only the workers write, and from there on parsing waits too, so that
 * storing, which gives memory back, always finds what its bookkeeping needs.
 */
export function memoryMarks(settings: PressureSettings) {
  const high = settings.REDIS_MEMORY_HIGH_PERCENT / 100;
  const underWay = (high + 1) / 2;
  return { low: settings.REDIS_MEMORY_LOW_PERCENT / 100, high, underWay, parse: (underWay + 1) / 2 };
}

/** The state of everything that can fill up. */
export function gaugesOf(figures: PressureFigures, settings: PressureSettings): Gauge[] {
  return [memoryGauge(figures, settings), backlogGauge(figures, settings), ...diskGauges(figures)];
}

export function memoryGauge({ memory }: Pick<PressureFigures, "memory">, settings: PressureSettings): Gauge {
  const { used, limit, limited } = memory;
  const { high, low } = memoryMarks(settings);
  const whole = limited ? "maxmemory" : "its machine's memory";
  return {
    name: "memory",
    above: used >= high * limit,
    below: used < low * limit,
    says: `Redis uses ${mib(used)}, ${Math.floor((100 * used) / limit)} % of ${whole} (${mib(limit)}); the mark is ${settings.REDIS_MEMORY_HIGH_PERCENT} %`,
    cure: "let parse and store work, start more of them, or raise Redis's maxmemory (REDIS_MAX_MEMORY_MB)",
  };
}

function backlogGauge({ backlog }: PressureFigures, { MAX_BACKLOG_MESSAGES: most }: PressureSettings): Gauge {
  return {
    name: "backlog",
    above: backlog >= most,
    below: backlog < 0.8 * most,
    says: `${backlog} messages wait to be stored; the mark is ${most}`,
    cure: "see that parse and store run (millrace status), start more of them, or raise MAX_BACKLOG_MESSAGES",
  };
}

function diskGauges({ disks, memory }: PressureFigures): Gauge[] {
  return disks.map(({ name, folder, freeBytes, minFreeBytes }) => {
    // What has been accepted is still to be written, and none of it is larger there than it is in Redis.
    const left = freeBytes - memory.used;
    return {
      name: `disk of ${name}`,
      above: left < minFreeBytes,
      below: left >= 1.25 * minFreeBytes,
      says: `${folder} has ${mib(freeBytes)} free; needed are ${mib(minFreeBytes)}, and ${mib(memory.used)} for what Redis holds`,
      cure: "free space on that disk, enlarge it, or lower STORE_MIN_FREE_MB",
    };
  });
}

function mib(octets: number): string {
  return `${Math.round(octets / 1_048_576).toLocaleString("en")} MiB`;
}
