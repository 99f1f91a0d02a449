import { encodedWord, foldedField, transferEncoded } from "@millrace/mail";
import type { Making } from "./sample.ts";

/** Lines without their ends: of a part, its header, an empty one and its body; each character is an octet. */
export type Lines = string[];

/** The header every sample has. `name` is that of the sender, for people. */
export function heading({ from, to, at, id }: Making, name: string, subject: string): Lines {
  const domain = from.slice(from.lastIndexOf("@") + 1) || "mail.example";
  return [
    `Date: ${mailDate(at)}`,
    `From: ${name} <${octets(from)}>`,
    foldedField("To", octets(to.join(", "))),
    `Message-ID: <${id}@${octets(domain)}>`,
    `Subject: ${/^[\x20-\x7e]*$/.test(subject) ? subject : encodedWord(subject)}`,
    "MIME-Version: 1.0",
  ];
}

/** A date as a header has it (RFC 5322 §3.3). */
export function mailDate(at: Date): string {
  return at.toUTCString().replace("GMT", "+0000");
}

export function textPart(type: string, text: string): Lines {
  const { headers, body } = transferEncoded(`${type}; charset=utf-8`, Buffer.from(text));
  return [...headers, "", body];
}

/** A file. Of a name that is not ASCII, RFC 2231's form. */
export function filePart(type: string, name: string, content: Buffer | string): Lines {
  const filename = /^[\x20-\x7e]*$/.test(name)
    ? `filename="${name}"`
    : `filename*=utf-8''${encodeURIComponent(name)}`;
  return [
    `Content-Type: ${type}`,
    `Content-Disposition: attachment; ${filename}`,
    "Content-Transfer-Encoding: base64",
    "",
    ...base64Lines(Buffer.from(content)),
  ];
}

/** @param subtype with its parameters, such as `alternative` */
export function multipart(subtype: string, boundary: string, parts: readonly Lines[]): Lines {
  return [
    `Content-Type: multipart/${subtype}; boundary="${boundary}"`,
    "",
    ...parts.flatMap((part) => [`--${boundary}`, ...part]),
    `--${boundary}--`,
  ];
}

/** Lines as a message's octets. */
export function joined(...lines: Lines[]): string {
  return `${lines.flat().join("\r\n")}\r\n`;
}

/** Lines of 76 characters (RFC 2045 §6.8). */
function base64Lines(content: Buffer): Lines {
  return content.toString("base64").match(/.{1,76}/g) ?? [];
}

/** Text whose characters are the octets of its UTF-8. */
function octets(text: string): string {
  return Buffer.from(text).toString("latin1");
}
