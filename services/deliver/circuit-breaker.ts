/** Durations in milliseconds. */
export interface BreakerTiming {
  /** Failures one after another that open the circuit. */
  failures: number;
  /** How long it stays open the first time; twice as long each time a probe fails. */
  cooling: number;
  longestCooling: number;
}

export const defaultBreakerTiming: BreakerTiming = { failures: 10, cooling: 5_000, longestCooling: 300_000 };
/** Deliveries that are tried at once after the cooling, to see whether the target works again. */
const probesAtOnce = 2;

/** Why a target is left alone: the last thing it, or the network, said. */
export interface Cause {
  reply: string;
  code?: string | undefined;
  status?: string | undefined;
}

/** How an attempt ended: the target answered, is in trouble, or nothing was learned about it. */
export type Verdict = "well" | "unknown" | Cause;

/** Called once at each change. `open`: for how many milliseconds no delivery is tried. */
export interface BreakerListener {
  opened(cause: Cause, open: number): void;
  closed(after: number): void;
}

/**
 * Decides whether deliveries to one target make sense (Nygard, Release It!): closed, they are made; after several
 * failures that were the target's own, open, they are not; when that has cooled, half open, a few are, and the first
 * one the target answers closes the circuit.
 */
export class CircuitBreaker {
  private readonly timing: BreakerTiming;
  private readonly listener: BreakerListener;
  private readonly now: () => number;
  private failures = 0;
  private cause: Cause | undefined;
  private cooling: number;
  private openedAt = 0;
  private opensAgainAt = 0;
  private probes = 0;

  /** @param now milliseconds of a clock that does not jump */
  constructor(timing: BreakerTiming, listener: BreakerListener, now: () => number = () => performance.now()) {
    this.timing = timing;
    this.listener = listener;
    this.now = now;
    this.cooling = timing.cooling;
  }

  /** Why deliveries are not made; undefined while the circuit is closed. */
  get trouble(): Cause | undefined {
    return this.cause;
  }

  /** Milliseconds until the next probe may be made. */
  get coolsFor(): number {
    return this.cause ? Math.max(0, this.opensAgainAt - this.now()) : 0;
  }

  /** Leave to make an attempt; undefined when the circuit is open. Every leave is given back with a verdict. */
  admit(): "attempt" | "probe" | undefined {
    if (!this.cause) return "attempt";
    if (this.coolsFor > 0 || this.probes >= probesAtOnce) return undefined;
    this.probes++;
    return "probe";
  }

  report(leave: "attempt" | "probe", verdict: Verdict): void {
    if (leave === "probe") this.probes--;
    if (verdict === "well") this.close();
    else if (verdict === "unknown") return;
    // What was under way when the circuit opened is no probe of what came after.
    else if (!this.cause) {
      if (++this.failures >= this.timing.failures) this.trip(verdict);
    } else if (leave === "probe" && this.coolsFor === 0) {
      this.cause = verdict;
      this.cooling = Math.min(2 * this.cooling, this.timing.longestCooling);
      this.opensAgainAt = this.now() + this.cooling;
    }
  }

  /** Opens the circuit at once. */
  trip(cause: Cause): void {
    if (this.cause) return;
    this.cause = cause;
    this.cooling = this.timing.cooling;
    this.openedAt = this.now();
    this.opensAgainAt = this.openedAt + this.cooling;
    this.listener.opened(cause, this.cooling);
  }

  private close(): void {
    this.failures = 0;
    if (!this.cause) return;
    this.cause = undefined;
    this.listener.closed(this.now() - this.openedAt);
  }
}
