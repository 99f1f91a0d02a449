import { createReadStream, existsSync } from "node:fs";

/** Counts how often texts stand in octets, without regard to the case of Latin letters. Each text for itself. */
export class Occurrences {
  private readonly needles: readonly string[];
  readonly count: number[];

  constructor(texts: readonly string[]) {
    this.needles = texts.map((text) => folded(Buffer.from(text)));
    this.count = texts.map(() => 0);
  }

  /** @param counted octets at the beginning that were counted before: what ends within them is not counted again */
  add(octets: Buffer, counted = 0): void {
    const text = folded(octets);
    for (const [index, needle] of this.needles.entries()) {
      for (let at = text.indexOf(needle); at !== -1; at = text.indexOf(needle, at + 1)) {
        if (at + needle.length > counted) this.count[index] = (this.count[index] ?? 0) + 1;
      }
    }
  }

  /** @returns octets of the file, 0 when there is none */
  async addFile(path: string): Promise<number> {
    if (!existsSync(path)) return 0;
    const overlap = Math.max(...this.needles.map((needle) => needle.length)) - 1;
    let before = Buffer.alloc(0);
    let octets = 0;
    for await (const chunk of createReadStream(path, { highWaterMark: 1_048_576 })) {
      this.add(Buffer.concat([before, chunk]), before.length);
      before = Buffer.concat([before, chunk]).subarray(-overlap);
      octets += chunk.length;
    }
    return octets;
  }
}

/** One character for each octet, so that octets of any kind can be searched as text. */
function folded(octets: Buffer): string {
  return octets.toString("latin1").toLowerCase();
}
