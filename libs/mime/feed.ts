import type { Readable } from "node:stream";
import type { PartParser } from "./part-parser.ts";

/** Octets handed to the parser at once: what it takes in after it has enough is no more than this. */
const sliceSize = 65_536;

/**
 * Writes a message into the parser under its backpressure and ends it. Stops, and destroys the source, when
 * the parser has enough.
 *
 * @throws whatever the source throws
 */
export async function feed(raw: Readable | Buffer, parser: PartParser): Promise<void> {
  if (Buffer.isBuffer(raw)) await write(raw, parser);
  else {
    // Left to itself, the loop would destroy the source with an error when it breaks off.
    for await (const chunk of raw.iterator({ destroyOnReturn: false })) {
      await write(chunk, parser);
      if (parser.hasEnough) break;
    }
    raw.destroy();
  }
  parser.end();
}

async function write(octets: Buffer, parser: PartParser): Promise<void> {
  for (let at = 0; at < octets.length && !parser.hasEnough; at += sliceSize) {
    if (!parser.write(octets.subarray(at, at + sliceSize))) await readyAgain(parser);
  }
}

/** Resolves when the parser takes more, or wants no more. */
function readyAgain(parser: PartParser): Promise<void> {
  return new Promise((resolve) => {
    const ready = () => {
      parser.off("drain", ready);
      parser.off("enough", ready);
      resolve();
    };
    parser.on("drain", ready);
    parser.on("enough", ready);
    if (parser.hasEnough) ready();
  });
}
