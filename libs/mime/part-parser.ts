import type { Transform } from "node:stream";
import { MailParser } from "mailparser";
import { Defects } from "./defects.ts";
import type { ParseLimits } from "./parse-limits.ts";
import type { KeptPart, Part } from "./part.ts";
import { inspectPart } from "./part-defects.ts";
import { embeddedHeader, type TextPart } from "./text-parts.ts";

type Chunk = Part | { type: "data" | "body"; node: Part; value: Buffer };
type Done = (error?: Error | null) => void;

/** What is used of mailparser beyond its documented interface, and the reason to pin its version. */
interface Internals {
  curnode: KeptPart;
  chunkedPassthrough: Transform;
  splitter: Transform & { node: { headerCost(extra?: number): number }; checkHeadSize(extra?: number): null };
  processChunk(this: MailParser, chunk: Chunk, done: Done): void;
}
const { processChunk } = MailParser.prototype as unknown as Internals;

/**
 * mailparser with an eye on every part before it goes in: notes what is odd, keeps texts from growing past the
 * limit while they are read, and has enough when there are too many parts or too deep ones.
 */
export class PartParser extends MailParser {
  readonly defects = new Defects();
  readonly texts: TextPart[] = [];
  /** Set when nothing further is to be fed. */
  hasEnough = false;
  /** Set when what was fed already is not to be read either. */
  #full = false;
  readonly #limits: ParseLimits;
  #parts = 0;
  /** Closing delimiters that are still to come. */
  readonly #unclosed = new Set<string>();
  /** Encoded octets that may still come in of each kind of text. */
  readonly #room: Record<TextPart["kind"], number>;
  /** What the part being read is; undefined for an attachment. */
  #kind: TextPart["kind"] | undefined;

  /** @param checksum whether attachments are given their SHA-256 */
  constructor(limits: ParseLimits, checksum: boolean) {
    super({
      skipHtmlToText: true,
      skipTextToHtml: true,
      skipTextLinks: true,
      skipImageLinks: true,
      checksumAlgo: checksum && "sha256",
      // Counted here instead, as is the header's size: reaching a limit ends the message, it fails nothing.
      maxChildNodes: Number.MAX_SAFE_INTEGER,
    });
    this.#limits = limits;
    const { splitter } = this.#internals;
    splitter.checkHeadSize = (extra) => {
      if (!this.hasEnough && splitter.node.headerCost(extra) > limits.maxHeaderBytes) {
        this.defects.add("header-too-large", `more than ${limits.maxHeaderBytes} octets`);
        this.enough();
      }
      return null;
    };
    // Quoted-printable takes up to three octets for one.
    const room = 3 * limits.maxTextBytes + 4_096;
    this.#room = { plain: room, html: room };
  }

  /** Takes nothing further. What it has taken comes to its end as a whole message does. */
  enough(): void {
    if (this.hasEnough) return;
    this.hasEnough = true;
    const { chunkedPassthrough, splitter } = this.#internals;
    chunkedPassthrough.unpipe(splitter).resume();
    splitter.end();
    this.emit("enough");
  }

  /** The closing delimiters that never came. */
  unclosed(): string[] {
    return [...this.#unclosed];
  }

  /** Called by mailparser for each part's header, each stretch of a body and all that lies between. */
  processChunk(chunk: Chunk, done: Done): void {
    if (this.#full) {
      setImmediate(done);
      return;
    }
    if (chunk.type === "node") {
      this.#begin(chunk, done);
      return;
    }
    // What lies within a multipart without a boundary is no part's body to mailsplit; here it is text.
    if (chunk.type === "data" && chunk.node.multipart && !chunk.node._boundary) chunk.type = "body";
    if (chunk.type === "data") this.#close(chunk.value);
    else if (this.#kind) chunk.value = this.#fit(this.#kind, chunk.value);
    processChunk.call(this, chunk, done);
  }

  get #internals(): Internals {
    return this as unknown as Internals;
  }

  #begin(part: Part, done: Done): void {
    const ancestors = ancestorsOf(part, this.#limits.maxNesting);
    if (!this.#allows(ancestors.length)) {
      this.#full = true;
      this.enough();
      // An empty delimiter: it ends the part before, so that what that one holds is still taken in.
      processChunk.call(this, { type: "data", node: part, value: Buffer.alloc(0) }, done);
      return;
    }
    inspectPart(part, ancestors, this.defects);
    if (part.multipart && part._boundary) this.#unclosed.add(`--${part._boundary}--`);
    processChunk.call(this, part, done);

    const { curnode } = this.#internals;
    // Nothing comes out of it, and nobody reads it; but when the message ends here, its end is waited for.
    if (part.messageNode) curnode.decoder?.resume();
    const parent = ancestors[0];
    if (parent?.contentType === "message/rfc822") this.texts.push(embeddedHeader(curnode.headers));
    const isText = curnode.disposition === "inline" && !curnode.isAttachment;
    this.#kind = isText ? (curnode.contentType === "text/html" ? "html" : "plain") : undefined;
    if (!this.#kind) return;
    const alternative = ancestors.some(({ contentType }) => contentType === "multipart/alternative");
    this.texts.push({ kind: this.#kind, alternative, content: () => curnode.textContent ?? "" });
  }

  #allows(depth: number): boolean {
    const { maxParts, maxNesting } = this.#limits;
    if (++this.#parts > maxParts) this.defects.add("too-many-parts", `more than ${maxParts}`);
    else if (depth >= maxNesting) this.defects.add("nesting-too-deep", `more than ${maxNesting}`);
    else return true;
    return false;
  }

  /** Cuts a stretch of text to what may still come in. */
  #fit(kind: TextPart["kind"], octets: Buffer): Buffer {
    const room = this.#room[kind];
    this.#room[kind] = Math.max(0, room - octets.length);
    if (octets.length <= room) return octets;
    this.defects.add(kind === "html" ? "html-truncated" : "text-truncated");
    return octets.subarray(0, room);
  }

  /** Notes the closing delimiters in what lies between parts. */
  #close(between: Buffer): void {
    if (this.#unclosed.size === 0) return;
    for (let start = between.indexOf("--"); start >= 0; start = between.indexOf("\n--", start)) {
      if (between[start] === 0x0a) start++;
      const end = between.indexOf(0x0a, start);
      const line = between.toString("latin1", start, end < 0 ? between.length : end);
      this.#unclosed.delete(line.trimEnd());
      if (end < 0) return;
      start = end;
    }
  }
}

/** The parts a part lies in, the nearest first; no more than `limit`. */
function ancestorsOf(part: Part, limit: number): Part[] {
  const found: Part[] = [];
  for (let up = part.parentNode; up && found.length < limit; up = up.parentNode) found.push(up);
  return found;
}
