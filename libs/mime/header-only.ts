import { isUtf8 } from "node:buffer";
import { emptyParsedMessage, type Mailbox, type ParsedMessage } from "@millrace/mail";
import { readDate } from "./date.ts";
import { Defects, storable } from "./defects.ts";
import type { ParsedHeader } from "./header.ts";
import { firstMessageId, messageIds } from "./message-ids.ts";

/** Octets of a message that are looked at. */
const octetsRead = 65_536;

/**
 * What can be read of a message's header without the parser: for messages that it gave up on. Looks at the
 * first 64 KiB and takes what it can; code of its own throughout, so that what broke the parser does not
 * break this as well. Never throws.
 *
 * @param raw the message, or its beginning
 * @param reason why the parser gave up, for a person to read
 */
export function parseHeaderOnly(raw: Buffer, reason: string): ParsedMessage {
  const defects = new Defects();
  defects.add("unparsed", reason);
  const header = readHeader(raw.subarray(0, octetsRead), defects);
  return { ...emptyParsedMessage([]), ...header, defects: defects.list() };
}

/**
 * The fields of a header in their order, each value unfolded and decoded, as far as they stand in the first 64 KiB.
 * What is no field is left out. Never throws.
 *
 * @param raw the message, or its beginning
 */
export function readHeaderFields(raw: Buffer): { name: string; value: string }[] {
  return decodedFields(raw.subarray(0, octetsRead), new Defects()).map(({ name, value }) => ({
    name,
    value,
  }));
}

function decodedFields(octets: Buffer, defects: Defects): ParsedHeader["headers"] {
  return fieldsOf(octets, defects).map(({ name, raw }) => ({
    name: storable(name),
    raw: storable(raw),
    value: storable(decodeWords(raw.replace(/\r?\n[ \t]*/g, " ").trim())),
  }));
}

function readHeader(octets: Buffer, defects: Defects): ParsedHeader {
  const headers = decodedFields(octets, defects);
  const first = (name: string) => headers.find((field) => field.name.toLowerCase() === name);
  const value = (name: string) => first(name)?.value;
  const mailboxes = (name: string) => readMailboxes(first(name)?.raw ?? "");
  const [messageId, inReplyTo, date] = [value("message-id"), value("in-reply-to"), value("date")];
  const from = mailboxes("from");
  if (from.length === 0) defects.add("from-missing");
  return {
    headers,
    subject: value("subject") ?? "",
    from,
    sender: mailboxes("sender"),
    replyTo: mailboxes("reply-to"),
    to: mailboxes("to"),
    cc: mailboxes("cc"),
    bcc: mailboxes("bcc"),
    messageId: messageId === undefined ? null : firstMessageId(messageId),
    inReplyTo: inReplyTo === undefined ? null : firstMessageId(inReplyTo),
    references: messageIds(value("references") ?? ""),
    date: date === undefined ? null : readDate(date),
  };
}

function fieldsOf(octets: Buffer, defects: Defects): { name: string; raw: string }[] {
  const text = octets.toString(isUtf8(octets) ? "utf8" : "latin1");
  const blank = /\r?\n\r?\n/.exec(text);
  const lines = (blank ? text.slice(0, blank.index) : text).split("\n");
  const fields: { name: string; raw: string }[] = [];
  for (const each of lines) {
    const line = each.endsWith("\r") ? each.slice(0, -1) : each;
    const last = fields.at(-1);
    const field = /^([!-9;-~]+)[ \t]*:/.exec(line);
    if (last && /^[ \t]/.test(line)) last.raw += `\r\n${line}`;
    else if (field) fields.push({ name: field[1] as string, raw: line.slice(field[0].length) });
    else if (line !== "") defects.add("header-malformed", line);
  }
  return fields;
}

/** Encoded words (RFC 2047), each by itself. What cannot be decoded stays as it is. */
function decodeWords(value: string): string {
  if (!value.includes("=?")) return value;
  return value
    .replace(/(\?=)\s+(?==\?)/g, "$1")
    .replace(/=\?([\w-]{1,40})(?:\*[\w-]*)?\?([bq])\?([^?\s]*)\?=/gi, (word, charset, encoding, content) => {
      try {
        return new TextDecoder(charset).decode(octetsOf(encoding, content));
      } catch {
        return word;
      }
    });
}

function octetsOf(encoding: string, content: string): Buffer {
  if (encoding.toLowerCase() === "b") return Buffer.from(content, "base64");
  const unescaped = content
    .replaceAll("_", " ")
    .replace(/=([0-9a-f]{2})/gi, (_, hex) => String.fromCharCode(Number.parseInt(hex, 16)));
  return Buffer.from(unescaped, "latin1");
}

/** Cuts an address field at the separators that are neither quoted nor in brackets; comments and group names fall away. */
function readMailboxes(body: string): Mailbox[] {
  const found: Mailbox[] = [];
  let current = "";
  let [quoted, bracketed, comments] = [false, false, 0];
  const end = () => {
    const mailbox = readMailbox(current.replace(/\s+/g, " ").trim());
    if (mailbox) found.push(mailbox);
    current = "";
  };
  for (let at = 0; at < body.length; at++) {
    const char = body[at] as string;
    if (char === "\\") {
      at++;
      if (comments === 0) current += body[at] ?? "";
    } else if (char === '"') quoted = !quoted;
    else if (quoted) current += char;
    else if (char === "(") comments++;
    else if (comments > 0) comments -= char === ")" ? 1 : 0;
    else if (/[,;:]/.test(char) && !bracketed) end();
    else {
      if (char === "<" || char === ">") bracketed = char === "<";
      current += char;
    }
  }
  end();
  return found;
}

/** `name <address>`, or words of which one is an address. */
function readMailbox(text: string): Mailbox | undefined {
  const open = text.lastIndexOf("<");
  const [before, rest] = open < 0 ? ["", text] : [text.slice(0, open), text.slice(open + 1)];
  const words = rest.replaceAll(">", "").replace(/ ?@ ?/g, "@").trim().split(" ");
  const address = words.find((word) => word.includes("@"));
  if (!address) return undefined;
  const name = open < 0 ? words.filter((word) => word !== address).join(" ") : before.trim();
  return { name: storable(decodeWords(name)), address: storable(address) };
}
