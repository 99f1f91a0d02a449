import { Snooze } from "@millrace/pipeline";

/** Milliseconds without a success after which a target with every place taken counts as stuck. */
const stuckAfter = 1_000;
/** Milliseconds a message for a stuck target stays away: from the first to the sum of both, by chance. */
const snoozeAtLeast = 10_000;
const snoozeSpread = 20_000;

/**
 * The places one process has for deliveries to one target. While the target works, who finds no place waits for
 * one. When it is stuck, nobody may wait: waiting would hold a job that belongs to some other target.
 */
export class TargetGate {
  private readonly limit: number;
  private active = 0;
  private lastSuccess = Number.NEGATIVE_INFINITY;
  private fullSince = Number.POSITIVE_INFINITY;
  private waiting: { enter(): void; leave(error: Error): void }[] = [];
  private watch: NodeJS.Timeout | undefined;

  constructor(limit: number) {
    this.limit = limit;
  }

  /** Takes a place. @throws Snooze when the target is stuck */
  async enter(): Promise<void> {
    if (this.active < this.limit) return this.take();
    if (this.stuck()) throw snooze();
    this.watch ??= setInterval(() => this.sendAway(), stuckAfter / 4).unref();
    await new Promise<void>((enter, leave) => this.waiting.push({ enter, leave }));
  }

  /** Gives the place back. */
  leave(succeeded: boolean): void {
    this.active--;
    this.fullSince = Number.POSITIVE_INFINITY;
    if (succeeded) this.lastSuccess = performance.now();
    const next = this.waiting.shift();
    if (next) {
      this.take();
      next.enter();
    }
    if (this.waiting.length === 0) this.stopWatching();
  }

  private take(): void {
    this.active++;
    if (this.active >= this.limit) this.fullSince = performance.now();
  }

  private stuck(): boolean {
    const now = performance.now();
    return (
      this.active >= this.limit && now - this.fullSince > stuckAfter && now - this.lastSuccess > stuckAfter
    );
  }

  private sendAway(): void {
    if (!this.stuck()) return;
    for (const { leave } of this.waiting.splice(0)) leave(snooze());
    this.stopWatching();
  }

  private stopWatching(): void {
    clearInterval(this.watch);
    this.watch = undefined;
  }
}

function snooze(): Snooze {
  return new Snooze(snoozeAtLeast + Math.random() * snoozeSpread);
}
