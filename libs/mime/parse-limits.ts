/** How much of a message the parser may take in. What lies beyond is a defect of the parsed message, never an error. */
export interface ParseLimits {
  /** Octets of text and of HTML that are kept, each, counted in UTF-8. */
  maxTextBytes: number;
  /** Characters of HTML that are searched for words where a message has no other text. */
  maxHtmlLength: number;
  /** Parts, the message itself and its multiparts counted. */
  maxParts: number;
  /** Parts within parts. */
  maxNesting: number;
  /** Octets of the header of one part. A line counts for 64 at least, as mailsplit counts them. */
  maxHeaderBytes: number;
}

export const defaultParseLimits: ParseLimits = {
  maxTextBytes: 2_097_152,
  maxHtmlLength: 1_048_576,
  maxParts: 500,
  maxNesting: 100,
  maxHeaderBytes: 262_144,
};
