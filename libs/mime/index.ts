import type { Readable } from "node:stream";
import type { ParsedMessage } from "@millrace/mail";

/** How much of a message the parser may take in. */
export interface ParseLimits {
  /** Octets of text and of HTML that are kept, each. */
  maxTextBytes: number;
}

/** Reads a raw message as a stream. */
export declare function parseMessage(raw: Readable, limits: ParseLimits): Promise<ParsedMessage>;
/** The decoded octets of one attachment, by its index in `attachments`. */
export declare function attachmentOf(raw: Readable, index: number): Promise<Readable>;
