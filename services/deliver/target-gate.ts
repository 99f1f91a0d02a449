import { Snooze } from "@millrace/pipeline";
import {
  type BreakerListener,
  type BreakerTiming,
  type Cause,
  CircuitBreaker,
  defaultBreakerTiming,
  type Verdict,
} from "./circuit-breaker.ts";

/** Durations in milliseconds. */
export interface GateTiming extends BreakerTiming {
  /** When every place has been taken for this long and nothing was delivered, the target is stuck: as if it had failed. */
  patience: number;
  /** How long a delivery may wait for a place, by what the last ones took. */
  waiting: number;
  /** The longest a delivery without a place is sent away for. */
  longestAway: number;
}

export const defaultGateTiming: GateTiming = {
  ...defaultBreakerTiming,
  patience: 10_000,
  waiting: 2_000,
  longestAway: 120_000,
};

/**
 * Milliseconds between two deliveries that come back to a target in trouble, and until the last of a large backlog has:
 * ten thousand messages for a dead target must not keep everybody busy with being put off.
 */
const backEvery = 20;
const allBackWithin = 600_000;

/** Milliseconds an attempt is taken to last before one has ended. */
const guessedDuration = 500;

/** The target's circuit is open: its deliveries are not tried. */
export class TargetUnavailable extends Error {
  override name = "TargetUnavailable";
  readonly trouble: Cause;
  /** Milliseconds until anything is tried there again. */
  readonly coolsFor: number;
  /** Milliseconds until it is this delivery's turn: those put off come back one by one. */
  readonly turnIn: number;

  constructor(trouble: Cause, coolsFor: number, turnIn: number) {
    super(trouble.reply);
    this.trouble = trouble;
    this.coolsFor = coolsFor;
    this.turnIn = turnIn;
  }
}

interface Waiting {
  enter(): void;
  sendAway(error: Error): void;
}

/**
 * The places one process has for deliveries to one target, behind its circuit breaker.
 *
 * Whoever waits for a place holds a job that could be another target's. So only as many wait as will soon have their
 * turn; the others come back when it should be theirs, one behind the other, which costs as many pick-ups as the target
 * takes deliveries. While the circuit is open nobody waits.
 */
export class TargetGate {
  private readonly places: number;
  private readonly timing: GateTiming;
  private readonly breaker: CircuitBreaker;
  private active = 0;
  private readonly waiting: Waiting[] = [];
  private watch: NodeJS.Timeout | undefined;
  private lastDelivered = Number.NEGATIVE_INFINITY;
  /** Milliseconds an attempt takes, the last ones counting most. */
  private duration = guessedDuration;
  /** The turn of the last delivery that was sent away, and of the last that the trouble has put off. */
  private bookedUntil = 0;
  private backUntil = 0;

  constructor(places: number, listener: BreakerListener, timing: GateTiming = defaultGateTiming) {
    this.places = places;
    this.timing = timing;
    this.breaker = new CircuitBreaker(timing, listener);
  }

  /**
   * Takes a place, waiting for one if need be. What this resolves with gives it back.
   * @throws TargetUnavailable when the target is in trouble
   * @throws Snooze when too many wait already
   */
  async enter(): Promise<(verdict: Verdict) => void> {
    const { trouble } = this.breaker;
    // Those that hang since before the trouble hold their places: no probe comes on top of them.
    const leave = trouble && this.active >= this.places ? undefined : this.breaker.admit();
    if (!leave) throw this.unavailable();
    if (this.active >= this.places) {
      if (this.waiting.length >= this.room()) throw this.away();
      this.startWatching();
      await new Promise<void>((enter, sendAway) => this.waiting.push({ enter, sendAway }));
    } else this.active++;
    return this.placeWith(leave);
  }

  private placeWith(leave: "attempt" | "probe"): (verdict: Verdict) => void {
    const began = performance.now();
    return (verdict) => {
      const now = performance.now();
      this.duration += (now - began - this.duration) / 8;
      if (verdict === "well") this.lastDelivered = now;
      this.breaker.report(leave, verdict);
      if (!this.breaker.trouble) this.backUntil = 0;
      if (this.breaker.trouble) this.sendAllAway();
      // A place is handed over as it is: nobody may slip in between.
      const next = this.waiting.shift();
      if (next) next.enter();
      else this.active--;
      if (this.waiting.length === 0) this.stopWatching();
    };
  }

  /** How many may wait: those whose turn comes in time, and one for each place, so that none is ever idle. */
  private room(): number {
    return Math.max(this.places, (this.places * this.timing.waiting) / this.duration);
  }

  private away(): Snooze {
    const now = performance.now();
    const { longestAway, waiting } = this.timing;
    const soonest = now + Math.min(waiting, this.duration) / 2;
    this.bookedUntil = Math.max(this.bookedUntil, soonest) + this.duration / this.places;
    const delay = this.bookedUntil - now;
    if (delay <= longestAway) return new Snooze(delay);
    // Not all at the same time, which would be as if none had been sent away.
    this.bookedUntil = now + longestAway;
    return new Snooze(longestAway * (0.5 + 0.5 * Math.random()));
  }

  private unavailable(): TargetUnavailable {
    const now = performance.now();
    this.backUntil = Math.max(this.backUntil, now) + backEvery;
    if (this.backUntil - now > allBackWithin) this.backUntil = now + allBackWithin * Math.random();
    const { coolsFor } = this.breaker;
    return new TargetUnavailable(
      this.breaker.trouble as Cause,
      coolsFor,
      Math.max(coolsFor, this.backUntil - now),
    );
  }

  private startWatching(): void {
    if (this.watch) return;
    const { patience } = this.timing;
    const began = performance.now();
    let overdue = false;
    this.watch = setInterval(() => {
      const still = performance.now() - Math.max(this.lastDelivered, began);
      // Twice in a row: after a stall of this very process the timer comes before the answers that lie waiting.
      if (still > patience && overdue) {
        this.breaker.trip({
          reply: `nothing was delivered for ${Math.round(still / 1_000)} s`,
          code: "STUCK",
        });
        this.sendAllAway();
        this.stopWatching();
      }
      overdue = still > patience;
    }, patience / 4).unref();
  }

  private sendAllAway(): void {
    for (const { sendAway } of this.waiting.splice(0)) sendAway(this.unavailable());
  }

  private stopWatching(): void {
    clearInterval(this.watch);
    this.watch = undefined;
  }
}
