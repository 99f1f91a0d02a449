import { createCipheriv } from "node:crypto";
import { filePart, heading, joined, multipart, textPart } from "./parts.ts";
import type { Sample } from "./sample.ts";

/** Octets of its file: 6 MiB, which are 8.5 million in base64. */
const size = 6 * 1_048_576;

export const big: Sample = {
  name: "big",
  about: "8 MB: a file that does not compress, for workers that should stream.",
  from: "bob@example.net",
  build: (making) =>
    joined(
      heading(making, "Bob Example", "The recording"),
      multipart("mixed", "=_big", [
        textPart("text/plain", "It is a little large.\n\nBob\n"),
        filePart("application/octet-stream", "recording.bin", noise()),
      ]),
    ),
};

/** Octets that look random and are the same each time. */
function noise(): Buffer {
  return createCipheriv("aes-128-ctr", Buffer.alloc(16), Buffer.alloc(16)).update(Buffer.alloc(size));
}
