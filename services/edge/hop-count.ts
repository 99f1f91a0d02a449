const LF = 0x0a;
const field = Buffer.from("received");
const colon = 0x3a;

/**
 * Counts the Received fields in the header of a message that arrives in chunks cut anywhere. Their number is
 * how a mail loop shows (RFC 5321 §6.3). Stops looking at the first empty line.
 */
export class HopCount {
  hops = 0;
  private inHeader = true;
  /** Octets of the current line seen so far; beyond the field's name they no longer matter. */
  private column = 0;
  /** Whether the line so far can still become "Received:". */
  private candidate = true;

  scan(chunk: Buffer): void {
    let at = 0;
    while (this.inHeader && at < chunk.length) {
      const octet = chunk[at] as number;
      if (this.column === 0 && (octet === 0x0d || octet === LF)) {
        this.inHeader = false;
        return;
      }
      if (this.candidate && octet !== LF) {
        this.look(octet);
        this.column++;
        at++;
        continue;
      }
      const end = chunk.indexOf(LF, at);
      if (end < 0) {
        this.column++;
        return;
      }
      at = end + 1;
      this.column = 0;
      this.candidate = true;
    }
  }

  private look(octet: number): void {
    if (this.column < field.length) {
      this.candidate = (octet | 0x20) === field[this.column];
    } else {
      if (octet === colon) this.hops++;
      // White space may stand before the colon (RFC 5322 §4.5).
      this.candidate = octet === 0x20 || octet === 0x09;
    }
  }
}
