import { type HeaderEdits, isRemoved, removalOf } from "./header-edits.ts";

/** Octets a field's name may have, white space before its colon included; a line without a colon in them is no field. */
const nameOctets = 1_024;
/** Octets of a field that are looked at: one that says nothing certain within them is left out. */
const lookedAtOctets = 65_536;

const lineFeed = 0x0a;
const colon = 0x3a;

/**
 * Leaves fields out of a message that goes through it piece by piece. It never holds more than one field, nor more of
 * that than 64 KiB, however long the header is.
 */
export class HeaderFilter {
  /** Octets that were left out so far. */
  removed = 0;
  /** The header is over: what comes now goes through as it is. */
  ended = false;
  private readonly edits: HeaderEdits;
  private place: "name" | "keep" | "drop" | "look" = "name";
  private atLineStart = false;
  private held: Buffer = Buffer.alloc(0);
  private out: Buffer[] = [];

  constructor(edits: HeaderEdits) {
    this.edits = edits;
  }

  /** @returns what goes out for a piece that has come in */
  push(piece: Buffer): Buffer {
    let at = 0;
    while (at < piece.length && !this.ended) {
      const feed = piece.indexOf(lineFeed, at);
      const end = feed < 0 ? piece.length : feed + 1;
      this.take(piece.subarray(at, end), feed >= 0);
      at = end;
    }
    if (at < piece.length) this.out.push(piece.subarray(at));
    return this.taken();
  }

  /** @returns what is still held when the message is over */
  end(): Buffer {
    this.endField();
    return this.taken();
  }

  /** A line, or the part of one that has come in. */
  private take(part: Buffer, endsLine: boolean): void {
    if (this.atLineStart && part[0] !== 0x20 && part[0] !== 0x09) {
      this.endField();
      this.place = "name";
    }
    this.atLineStart = endsLine;
    if (this.place === "keep") this.out.push(part);
    else if (this.place === "drop") this.removed += part.length;
    else {
      this.held = this.held.length === 0 ? part : Buffer.concat([this.held, part]);
      if (this.place === "name") this.readName(endsLine);
      else if (this.held.length > lookedAtOctets) this.settle("drop");
    }
  }

  private readName(endsLine: boolean): void {
    if (endsLine && /^\r?\n$/.test(this.held.toString("latin1", 0, 3))) {
      this.ended = true;
      this.settle("keep");
      return;
    }
    const end = this.held.indexOf(colon);
    if (end >= 0) {
      const removal = removalOf(this.edits, this.held.toString("latin1", 0, end).trimEnd());
      if (removal === "look") this.place = removal;
      else this.settle(removal);
    } else if (endsLine || this.held.length > nameOctets) this.settle("keep");
  }

  /** The field that was looked at has come to its end. */
  private endField(): void {
    if (this.held.length === 0) return;
    const text = this.held.toString("utf8");
    const end = text.indexOf(":");
    const removed =
      this.place === "look" && isRemoved(this.edits, text.slice(0, end).trimEnd(), text.slice(end + 1));
    this.settle(removed ? "drop" : "keep");
  }

  private settle(place: "keep" | "drop"): void {
    if (place === "keep") this.out.push(this.held);
    else this.removed += this.held.length;
    this.held = Buffer.alloc(0);
    this.place = place;
  }

  private taken(): Buffer {
    const out = this.out.length === 1 ? (this.out[0] as Buffer) : Buffer.concat(this.out);
    this.out = [];
    return out;
  }
}
