/** One line on a terminal's standard error that is written over; nothing where there is no terminal. */
export class ProgressLine {
  private readonly shown = process.stderr.isTTY === true;
  private writtenAt = 0;

  /** At most ten times a second. */
  show(text: string): void {
    if (!this.shown || Date.now() - this.writtenAt < 100) return;
    this.writtenAt = Date.now();
    process.stderr.write(`\r\x1b[K${text.slice(0, (process.stderr.columns ?? 80) - 1)}`);
  }

  clear(): void {
    if (this.shown && this.writtenAt > 0) process.stderr.write("\r\x1b[K");
  }
}
