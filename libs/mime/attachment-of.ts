import type { Readable } from "node:stream";
import { PermanentFailure } from "@millrace/mail";
import type { AttachmentStream, MessageText } from "mailparser";
import { feed } from "./feed.ts";
import { defaultParseLimits, type ParseLimits } from "./parse-limits.ts";
import { PartParser } from "./part-parser.ts";

/**
 * The decoded octets of one attachment, as a stream: the message is read as far as the reader takes them.
 * Destroying it lets the message go.
 *
 * @param index as in `attachments` of what `parseMessage` makes of the same message under the same limits
 * @throws PermanentFailure when there is no such attachment; else whatever `raw` throws
 */
export function attachmentOf(
  raw: Readable | Buffer,
  index: number,
  limits: ParseLimits = defaultParseLimits,
): Promise<Readable> {
  const parser = new PartParser(limits, false);
  return new Promise((resolve, reject) => {
    let seen = 0;
    let found: Readable | undefined;
    const fail = (error: Error) => {
      parser.enough();
      if (found) found.destroy(error);
      else reject(error);
    };
    parser.on("data", (item: AttachmentStream | MessageText) => {
      if (item.type !== "attachment") return;
      if (seen++ !== index) {
        item.content.once("end", () => item.release?.());
        item.content.on("error", fail);
        item.content.resume();
        return;
      }
      found = item.content;
      // Read to its end or given up: what comes after it is nobody's concern.
      found.once("close", () => {
        parser.enough();
        parser.destroy();
      });
      resolve(found);
    });
    parser.once("end", () => {
      if (!found) fail(noAttachment(index, seen));
    });
    parser.on("error", fail);
    feed(raw, parser).catch(fail);
  });
}

function noAttachment(index: number, count: number): PermanentFailure {
  const there = count === 0 ? "none" : count === 1 ? "only 0" : `0 to ${count - 1}`;
  return new PermanentFailure(`there is no attachment ${index}: the message has ${there}`, {
    code: "NO_ATTACHMENT",
  });
}
