import type { Readable } from "node:stream";
import type { HeaderLines, Headers } from "mailparser";

/** A part as mailsplit hands it to the parser: its header is read, its body is not yet. */
export interface Part {
  type: "node";
  parentNode: Part | false;
  contentType: string | false;
  multipart: string | false;
  encoding: string | false;
  charset: string | false;
  disposition: string | false;
  filename: string | false;
  /** Whether it is an embedded message that is read as part of this one. */
  messageNode?: boolean;
  _boundary: Buffer | false;
  headers: { getList(): HeaderLines };
}

/** A part as mailparser keeps it. `textContent` is there once the part has ended. */
export interface KeptPart {
  headers: Headers;
  contentType: string | false;
  disposition?: string;
  isAttachment?: boolean;
  textContent?: string;
  /** Takes the body apart from its transfer encoding. A multipart has none. */
  decoder?: Readable;
}
