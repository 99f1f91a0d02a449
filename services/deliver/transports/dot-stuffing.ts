const cr = 0x0d;
const lf = 0x0a;
const dot = 0x2e;

/**
 * A message as it goes over the wire after DATA (RFC 5321 §4.5.2): a line that begins with a dot gets a second
 * one. All else stays as it is, but for a CR or LF that stands alone: that becomes CRLF, since a server that takes
 * it for the end of a line could see the end of the message in `\n.\n` (CVE-2023-51764). The edge lets none
 * through; here is the last place to make sure.
 */
export class DotStuffer {
  // The first octet of a message begins a line.
  private previous = lf;

  /** The next piece of the message; the same buffer when there is nothing to change in it. */
  stuff(piece: Buffer): Buffer {
    const parts: Buffer[] = [];
    let copied = 0;
    let previous = this.previous;
    for (let at = 0; at < piece.length; at++) {
      const octet = piece[at] as number;
      let insert: string | undefined;
      if (previous === cr) {
        if (octet !== lf) insert = octet === dot ? "\n." : "\n";
      } else if (octet === lf) insert = "\r";
      else if (octet === dot && previous === lf) insert = ".";
      if (insert) {
        parts.push(piece.subarray(copied, at), Buffer.from(insert, "latin1"));
        copied = at;
      }
      previous = octet;
    }
    this.previous = previous;
    if (parts.length === 0) return piece;
    parts.push(piece.subarray(copied));
    return Buffer.concat(parts);
  }

  /** What ends the message: the last line's CRLF, if it has none, and the dot. */
  end(): Buffer {
    const lineEnd = this.previous === lf ? "" : this.previous === cr ? "\n" : "\r\n";
    return Buffer.from(`${lineEnd}.\r\n`, "latin1");
  }
}
