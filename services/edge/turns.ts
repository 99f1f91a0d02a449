/**
 * Lets a number of clients write to the spool at once, and the others wait for their turn, in order. Two hundred
 * writes at once would each take two hundred times as long, until Redis's answer comes too late for all of them; and
 * every one holds its octets twice more, on their way to Redis.
 */
export class Turns {
  private free: number;
  private readonly waiting: (() => void)[] = [];

  constructor(atOnce: number) {
    this.free = atOnce;
  }

  /** Calls `go` when its turn has come, which may be at once. Each `go` ends with one `done`. */
  take(go: () => void): void {
    if (this.free === 0) {
      this.waiting.push(go);
      return;
    }
    this.free--;
    go();
  }

  done(): void {
    const next = this.waiting.shift();
    // Not from in here: where each has nothing left to write, a long queue would become a deep stack.
    if (next) queueMicrotask(next);
    else this.free++;
  }
}
