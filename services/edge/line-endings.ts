const CR = 0x0d;
const LF = 0x0a;

/**
 * Finds CR and LF that stand alone (RFC 5321 §2.3.8 allows neither in a message), in a body that arrives in
 * chunks cut anywhere. What one system takes for the end of a line and the next does not is how mail is
 * smuggled, so such a message is refused, or mended before anybody sees it.
 * Only for a whole body: the final dot stands on a line of its own (RFC 5321 §4.1.1.4), so a body is empty or ends
 * in CRLF, and a CR that is last in a chunk is judged by the next.
 */
export class LineEndings {
  /** The last octet was a CR; the next chunk says what it was. */
  private afterCr = false;

  /** How many line endings in this chunk stand alone. */
  scan(chunk: Uint8Array): number {
    if (chunk.length === 0) return 0;
    let bare = 0;
    let at = 0;
    if (this.afterCr) {
      if (chunk[0] === LF) at = 1;
      else bare = 1;
    }
    this.afterCr = false;
    while (at < chunk.length) {
      const octet = chunk[at++] as number;
      // The common case first: almost every octet of a message ends here.
      if (octet > CR) continue;
      if (octet === LF) bare++;
      else if (octet === CR) {
        if (at === chunk.length) this.afterCr = true;
        else if (chunk[at] === LF) at++;
        else bare++;
      }
    }
    return bare;
  }

  /** The chunk with CRLF in place of every CR or LF alone; the same chunk when there is none. */
  normalize(chunk: Buffer): Buffer {
    const before = this.afterCr;
    const bare = this.scan(chunk);
    if (bare === 0) return chunk;
    const mended = Buffer.allocUnsafe(chunk.length + bare);
    let to = 0;
    let afterCr = before;
    for (let i = 0; i < chunk.length; i++) {
      const octet = chunk[i] as number;
      // Missing: the LF after a CR alone, or the CR before an LF alone.
      if (afterCr !== (octet === LF)) mended[to++] = afterCr ? LF : CR;
      mended[to++] = octet;
      afterCr = octet === CR;
    }
    return mended;
  }
}
