import type { Readable } from "node:stream";
import type { Attachment, ParsedMessage } from "@millrace/mail";
import type { AttachmentStream, MessageText } from "mailparser";
import { storable } from "./defects.ts";
import { feed } from "./feed.ts";
import { readHeader } from "./header.ts";
import { defaultParseLimits, type ParseLimits } from "./parse-limits.ts";
import { PartParser } from "./part-parser.ts";
import { joinTexts } from "./text-parts.ts";

/** The parser itself failed over the message, and would again: `parseHeaderOnly` is what is left. */
export class ParserFailure extends Error {
  override name = "ParserFailure";
}

/**
 * Reads a raw message. Attachments are hashed as they stream past and never held; of texts no more than the
 * limit is. Whatever is odd about the message is a defect of the result. No string in it holds a NUL or half a
 * surrogate pair; see `storable`.
 *
 * Where there is no plain text, `text` has the words of the HTML.
 *
 * @throws ParserFailure when the parser fails; else whatever `raw` throws, as it is
 */
export async function parseMessage(
  raw: Readable | Buffer,
  limits: ParseLimits = defaultParseLimits,
): Promise<ParsedMessage> {
  const parser = new PartParser(limits, true);
  const attachments: Attachment[] = [];

  const parsed = new Promise<void>((resolve, reject) => {
    let open = 0;
    let ended = false;
    const fail = (error: Error) => {
      reject(new ParserFailure(error.message, { cause: error }));
      parser.enough();
    };
    const settle = () => ended && open === 0 && resolve();
    parser.on("data", (item: AttachmentStream | MessageText) => {
      if (item.type !== "attachment") return;
      open++;
      item.content.on("end", () => {
        attachments.push(described(item, attachments.length));
        item.release?.();
        open--;
        settle();
      });
      item.content.on("error", fail);
      item.content.resume();
    });
    parser.once("end", () => {
      ended = true;
      settle();
    });
    parser.on("error", fail);
  });

  try {
    await Promise.all([parsed, feed(raw, parser)]);
  } catch (error) {
    parser.destroy();
    throw error;
  }

  const { defects, headers, headerLines } = parser;
  const header = readHeader(headerLines || [], headers || new Map(), defects);
  const texts = joinTexts(parser.texts, limits, defects);
  if (!parser.hasEnough) {
    for (const delimiter of parser.unclosed()) defects.add("boundary-missing", `${delimiter} never came`);
  }
  return { v: 1, ...header, ...texts, attachments, defects: defects.list() };
}

function described(item: AttachmentStream, index: number): Attachment {
  return {
    index,
    filename: item.filename ? storable(item.filename) : null,
    contentType: storable(item.contentType || "application/octet-stream"),
    size: item.size as number,
    sha256: item.checksum as string,
    contentId: item.cid ? storable(item.cid) : null,
    disposition: item.contentDisposition ? storable(item.contentDisposition) : null,
  };
}
