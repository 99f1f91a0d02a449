import { addressFileName } from "./address.ts";
import type { Envelope } from "./envelope.ts";
import type { ParsedMessage } from "./parsed-message.ts";

/** Header fields that say whom a message is from and for (RFC 5322 §3.6.2, §3.6.3, §3.6.6, and what servers add). */
const addressFields = new Set([
  ...["from", "sender", "reply-to", "to", "cc", "bcc"],
  ...["resent-from", "resent-sender", "resent-to", "resent-cc", "resent-bcc"],
  ...["return-path", "delivered-to", "envelope-to", "x-original-to"],
]);

/** One mail address as a person goes by it: where it stands in a message, and where a text mentions it. */
export interface Person {
  /** In lower case. */
  address: string;
  /** Every way in which our records write the address, in lower case: as it is, as JSON, as a file name. */
  spellings: readonly string[];
  /** Whether a text has the whole address in it: `ann@example.com` is not in `joann@example.com`. */
  isMentioned(text: string): boolean;
  /** The text with `erased` in the place of the address. */
  redacted(text: string): string;
  /** The same for every string within a value as JSON has them. */
  redactedValue(value: unknown): unknown;
  /** Whether a message is from or for this address: by its envelope, or by a field of its header. */
  isConcerned(envelope: Pick<Envelope, "from" | "recipients">, parsed: ParsedMessage | undefined): boolean;
}

/** @param address compared without regard to case, local part included: mailboxes are matched so */
export function personOf(address: string): Person {
  const own = address.toLowerCase();
  const spellings = [...new Set([own, JSON.stringify(own).slice(1, -1), addressFileName(own)])];
  const pattern = mentionPattern(spellings);
  const isMentioned = (text: string) => text.search(pattern) !== -1;
  const redacted = (text: string) => text.replace(pattern, "erased");
  const redactedValue = (value: unknown): unknown => {
    if (typeof value === "string") return redacted(value);
    if (Array.isArray(value)) return value.map(redactedValue);
    if (value === null || typeof value !== "object") return value;
    return Object.fromEntries(
      Object.entries(value).map(([key, each]) => [redacted(key), redactedValue(each)]),
    );
  };
  const isOwn = (other: string) => other.toLowerCase() === own;
  return {
    address: own,
    spellings,
    isMentioned,
    redacted,
    redactedValue,
    isConcerned(envelope, parsed) {
      if ([envelope.from, ...envelope.recipients].some(isOwn)) return true;
      if (!parsed) return false;
      const { from, sender, replyTo, to, cc, bcc, headers } = parsed;
      if ([from, sender, replyTo, to, cc, bcc].flat().some((box) => isOwn(box.address))) return true;
      // A second From, an address no parser made out: the field's own text has the last word.
      return headers.some(
        ({ name, raw, value }) =>
          addressFields.has(name.toLowerCase()) && (isMentioned(value) || isMentioned(raw)),
      );
    },
  };
}

function mentionPattern(spellings: readonly string[]): RegExp {
  const any = spellings.map((each) => each.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")).join("|");
  // Not within a longer address: neither a local part nor a domain may go on beside it. A full stop ends a sentence.
  return new RegExp(`(?<![\\p{L}\\p{N}._+-])(?:${any})(?![\\p{L}\\p{N}_-]|\\.[\\p{L}\\p{N}])`, "giu");
}
