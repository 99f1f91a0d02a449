import { Snooze } from "@millrace/pipeline";

/** Durations in milliseconds. */
export interface GateTiming {
  /** Without a success for this long while every place is taken, a target that has worked before is stuck. */
  patience: number;
  /** The same for one that has not worked yet. */
  firstPatience: number;
  /** A message for a stuck target stays away for this long, and up to as long again, by chance. */
  snooze: number;
}

const defaultTiming: GateTiming = { patience: 10_000, firstPatience: 2_000, snooze: 8_000 };
/** Deliveries to a stuck target that go on being tried, to see whether it works again. */
const probes = 2;

/**
 * The places one process has for deliveries to one target. While the target works, who finds no place waits for
 * one. When it is stuck nobody may wait, until it has worked again: waiting holds a job that could be another
 * target's.
 */
export class TargetGate {
  private readonly limit: number;
  private readonly timing: GateTiming;
  private active = 0;
  private stuck = false;
  private worked = false;
  private lastSuccess = Number.NEGATIVE_INFINITY;
  private readonly waiting: { enter(): void; leave(error: Error): void }[] = [];
  private watch: NodeJS.Timeout | undefined;

  constructor(limit: number, timing: Partial<GateTiming> = {}) {
    this.limit = limit;
    this.timing = { ...defaultTiming, ...timing };
  }

  /** Takes a place. @throws Snooze when the target is stuck */
  async enter(): Promise<void> {
    if (this.stuck && this.active >= Math.min(probes, this.limit)) throw this.snooze();
    if (this.active < this.limit) {
      this.active++;
      return;
    }
    this.startWatching();
    await new Promise<void>((enter, leave) => this.waiting.push({ enter, leave }));
  }

  /** Gives the place back. */
  leave(succeeded: boolean): void {
    this.active--;
    if (succeeded) {
      this.stuck = false;
      this.worked = true;
      this.lastSuccess = performance.now();
    }
    const next = this.waiting.shift();
    if (next) {
      this.active++;
      next.enter();
    } else {
      this.stopWatching();
    }
  }

  private startWatching(): void {
    if (this.watch) return;
    const patience = this.worked ? this.timing.patience : this.timing.firstPatience;
    const began = performance.now();
    let overdue = false;
    this.watch = setInterval(() => {
      const still = performance.now() - Math.max(this.lastSuccess, began);
      // Twice in a row: after a stall of this very process the timer comes before the answers that lie waiting.
      if (still > patience && overdue) this.sendAway();
      overdue = still > patience;
    }, patience / 4).unref();
  }

  private sendAway(): void {
    this.stuck = true;
    for (const { leave } of this.waiting.splice(0)) leave(this.snooze());
    this.stopWatching();
  }

  private stopWatching(): void {
    clearInterval(this.watch);
    this.watch = undefined;
  }

  private snooze(): Snooze {
    return new Snooze(this.timing.snooze * (1 + Math.random()));
  }
}
