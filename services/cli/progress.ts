import { duration } from "./terminal.ts";

/** Milliseconds between two updates, on a terminal and in a log. */
const updates = { terminal: 200, log: 5_000 };

/** Tells on standard error how far long work is: one line that changes on a terminal, a line now and then elsewhere. */
export class Progress {
  private readonly terminal = process.stderr.isTTY === true;
  private readonly started = performance.now();
  private told = 0;
  private readonly verb: string;
  private readonly total: number;

  /** @param verb what is done to each: "replayed" */
  constructor(verb: string, total: number) {
    this.verb = verb;
    this.total = total;
  }

  at(done: number): void {
    const now = performance.now();
    if (now - this.told < (this.terminal ? updates.terminal : updates.log)) return;
    if (this.told === 0 && !this.terminal) {
      // Short work needs no line in a log.
      this.told = now;
      return;
    }
    this.told = now;
    const rate = (done * 1_000) / (now - this.started);
    const left = rate > 0 ? `, ${duration(((this.total - done) * 1_000) / rate)} left` : "";
    const share = this.total > 0 ? ` (${Math.floor((100 * done) / this.total)} %)` : "";
    const line = `${this.verb} ${count(done)} of ${count(this.total)}${share}, ${count(Math.round(rate))}/s${left}`;
    process.stderr.write(this.terminal ? `\r\x1b[K${line}` : `${line}\n`);
  }

  /** Takes the line away. */
  end(): void {
    if (this.terminal && this.told > 0) process.stderr.write("\r\x1b[K");
  }
}

/** A number with its thousands apart. */
export function count(number: number): string {
  return number.toLocaleString("en-US");
}
