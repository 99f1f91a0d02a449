import { readHeaderFields } from "@millrace/mime";

/** Octets of a message in which its header is looked for. */
const octetsMax = 65_536;
const blankLine = Buffer.from("\r\n\r\n");

/** Keeps the beginning of a message that arrives in chunks cut anywhere: its header, and no more than 64 KiB. */
export class HeaderStart {
  private readonly pieces: Buffer[] = [];
  private octets = 0;
  private complete = false;
  /** The last octets, in which a blank line may have begun. */
  private tail = Buffer.alloc(0);

  add(chunk: Buffer): void {
    if (this.complete) return;
    // A copy: the chunk is a part of what the socket has read, all of which would stay.
    const piece = Buffer.from(chunk.subarray(0, octetsMax - this.octets));
    this.pieces.push(piece);
    this.octets += piece.length;
    const seen = Buffer.concat([this.tail, piece]);
    this.complete = this.octets >= octetsMax || seen.includes(blankLine);
    this.tail = seen.subarray(-(blankLine.length - 1));
  }

  /** The fields so far. */
  fields(): { name: string; value: string }[] {
    return readHeaderFields(Buffer.concat(this.pieces));
  }
}
