import { ProgressLine } from "./progress-line.ts";
import { duration } from "./terminal.ts";

/** Milliseconds between two lines where there is no terminal. */
const logEvery = 5_000;

/** Tells on standard error how far long work is, and when it will be done: on a terminal all the time, else now and then. */
export class Progress {
  private readonly terminal = process.stderr.isTTY === true;
  private readonly line = new ProgressLine();
  private readonly started = performance.now();
  private loggedAt = this.started;
  private readonly verb: string;
  private readonly total: number;

  /** @param verb what is done to each: "replayed" */
  constructor(verb: string, total: number) {
    this.verb = verb;
    this.total = total;
  }

  at(done: number): void {
    if (this.terminal) {
      this.line.show(this.text(done));
      return;
    }
    const now = performance.now();
    if (now - this.loggedAt < logEvery) return;
    this.loggedAt = now;
    process.stderr.write(`${this.text(done)}\n`);
  }

  /** Takes the line away. */
  end(): void {
    this.line.clear();
  }

  private text(done: number): string {
    const rate = (done * 1_000) / (performance.now() - this.started);
    const left = rate > 0 ? `, ${duration(((this.total - done) * 1_000) / rate)} left` : "";
    const share = this.total > 0 ? ` (${Math.floor((100 * done) / this.total)} %)` : "";
    return `${this.verb} ${count(done)} of ${count(this.total)}${share}, ${count(Math.round(rate))}/s${left}`;
  }
}

/** A number with its thousands apart. */
export function count(number: number): string {
  return number.toLocaleString("en-US");
}
