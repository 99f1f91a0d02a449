import { isUtf8 } from "node:buffer";
import type { Mailbox, ParsedMessage } from "@millrace/mail";
import type { AddressObject, EmailAddress, HeaderLines, Headers, HeaderValue } from "mailparser";
import { charsetIsKnown, charsetsOfWords, decodeWords } from "./charset.ts";
import { readDate } from "./date.ts";
import { type Defects, storable } from "./defects.ts";
import { firstMessageId, messageIds } from "./message-ids.ts";

/** The part of a parsed message that comes from its header. */
export type ParsedHeader = Omit<ParsedMessage, "v" | "text" | "html" | "attachments" | "defects">;

const addressFields = ["from", "sender", "reply-to", "to", "cc", "bcc"] as const;

/**
 * Reads the header of a message.
 *
 * @param lines the fields as they came, one character for each octet, folds included
 * @param headers the same as mailparser understood them: of these only the addresses are taken
 */
export function readHeader(lines: HeaderLines, headers: Headers, defects: Defects): ParsedHeader {
  const fields: ParsedHeader["headers"] = [];
  /** Decoded bodies by name in lower case; the first of each counts, as for every mail program. */
  const first = new Map<string, string>();
  let froms = 0;
  for (const { line: octets } of lines) {
    const line = fromOctets(octets);
    const colon = line.indexOf(":");
    const name = line.slice(0, Math.max(colon, 0)).trimEnd();
    // RFC 5322 §2.2: a name is printable ASCII.
    if (!/^[!-9;-~]+$/.test(name)) {
      defects.add("header-malformed", line);
      if (colon < 0) continue;
    }
    const raw = line.slice(colon + 1);
    const body = unfold(raw);
    const value = decodeWords(body);
    for (const charset of charsetsOfWords(body)) {
      if (!charsetIsKnown(charset)) defects.add("charset-unknown", `${name}: ${charset}`);
    }
    fields.push({ name: storable(name), raw: storable(raw), value: storable(value) });
    const key = name.toLowerCase();
    if (key === "from") froms++;
    if (!first.has(key)) first.set(key, storable(value));
  }

  const [from, sender, replyTo, to, cc, bcc] = addressFields.map((name) =>
    mailboxes(name, headers.get(name), defects),
  ) as [Mailbox[], Mailbox[], Mailbox[], Mailbox[], Mailbox[], Mailbox[]];
  if (froms > 1) defects.add("from-multiple", `${froms} From fields; the first counts`);
  if (!from.some(({ address }) => address)) defects.add("from-missing");

  const dateField = first.get("date");
  const date = dateField === undefined ? null : readDate(dateField);
  if (dateField === undefined) defects.add("date-missing");
  else if (date === null) defects.add("date-invalid", dateField);

  const inReplyTo = first.get("in-reply-to");
  const messageId = first.get("message-id");
  return {
    headers: fields,
    subject: first.get("subject") ?? "",
    ...{ from, sender, replyTo, to, cc, bcc },
    messageId: messageId === undefined ? null : firstMessageId(messageId),
    inReplyTo: inReplyTo === undefined ? null : firstMessageId(inReplyTo),
    references: messageIds(first.get("references") ?? ""),
    date,
  };
}

/** Octets of a header as text: UTF-8 (RFC 6532) where they are that, else each as the character of its number. */
function fromOctets(octets: string): string {
  if (!/[\x80-\xff]/.test(octets)) return octets;
  const buffer = Buffer.from(octets, "latin1");
  return isUtf8(buffer) ? buffer.toString("utf8") : octets;
}

/** RFC 5322 §2.2.3, with each fold as one space. */
export function unfold(body: string): string {
  return body.replace(/\r?\n[ \t]*/g, " ").trim();
}

/** The mailboxes of an address field, those of groups among them. */
function mailboxes(field: string, value: HeaderValue | undefined, defects: Defects): Mailbox[] {
  if (value === undefined) return [];
  const found: Mailbox[] = [];
  const collect = (entries: readonly EmailAddress[]): void => {
    for (const entry of entries) {
      if (entry.group) {
        collect(entry.group);
        continue;
      }
      const mailbox = { name: storable(entry.name), address: storable(entry.address ?? "") };
      if (!mailbox.name && !mailbox.address) continue;
      found.push(mailbox);
      if (!/^.+@[^\s@]+$/s.test(mailbox.address)) {
        defects.add("address-invalid", `${field}: ${mailbox.name} <${mailbox.address}>`);
      }
    }
  };
  for (const each of [value].flat() as AddressObject[]) collect(each.value);
  return found;
}
