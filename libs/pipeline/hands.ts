/** A worker's hands in one process: each handles one unit at a time. Who asks first is served first. */
export class Hands {
  private free: number;
  private readonly waiting = new Set<() => void>();

  constructor(count: number) {
    this.free = count;
  }

  /**
   * Waits for a free hand.
   *
   * @param within milliseconds; without it, for as long as it takes
   * @returns what frees it again; undefined when none was free in time
   */
  async take(within?: number): Promise<(() => void) | undefined> {
    if (this.free > 0) this.free--;
    else if (!(await this.nextFree(within))) return undefined;
    return () => {
      const [next] = this.waiting;
      if (next) next();
      else this.free++;
    };
  }

  private nextFree(within: number | undefined): Promise<boolean> {
    return new Promise((resolve) => {
      let timer: NodeJS.Timeout | undefined;
      const end = (mine: boolean) => {
        clearTimeout(timer);
        this.waiting.delete(serve);
        resolve(mine);
      };
      const serve = () => end(true);
      this.waiting.add(serve);
      if (within !== undefined) timer = setTimeout(end, within, false);
    });
  }
}
