import { isIPv6 } from "node:net";
import type { Envelope, MessageId } from "@millrace/mail";

/** What the Received field tells of a transaction. */
export interface ReceivedDetails {
  id: MessageId;
  hostname: string;
  envelope: Envelope;
  /** Milliseconds since the epoch. */
  at: number;
}

/** Columns a line should not pass (RFC 5322 §2.1.1), its CRLF not counted. */
const width = 78;

/**
 * Our Received field (RFC 5321 §4.4), with its final CRLF. HELO name and addresses are the client's words: what
 * is no plain part of a name is left out or replaced, so that none of it can be read as something else.
 * UTF-8 stands in it only when the transaction is an SMTPUTF8 one (RFC 6531 §3.7.3).
 */
export function receivedField({ id, hostname, envelope, at }: ReceivedDetails): string {
  const { client, helo, protocol, recipients, smtputf8 } = envelope;
  const ip = isIPv6(client.ip) ? `IPv6:${client.ip}` : client.ip;
  const words = [`from ${nameOf(helo, smtputf8)}`, `([${ip}])`, `by ${hostname}`, "(Millrace)"];
  words.push(`with ${protocol}`, `id ${id}`);
  const only = recipients.length === 1 ? (recipients[0] as string) : "";
  // With several, naming one would tell the others of a blind copy.
  if (plainAddress(only, smtputf8)) words.push(`for <${only}>`);
  words[words.length - 1] += ";";
  words.push(dateOf(at));
  return folded(words);
}

function folded(words: string[]): string {
  let text = "Received:";
  let column = text.length;
  for (const word of words) {
    if (column + 1 + word.length > width) {
      text += `\r\n\t${word}`;
      // A tab reaches to the eighth column.
      column = 8 + word.length;
    } else {
      text += ` ${word}`;
      column += 1 + word.length;
    }
  }
  return `${text}\r\n`;
}

/** A HELO name with a question mark for every character a domain or an address literal does not have. */
function nameOf(helo: string, utf8: boolean): string {
  const name = helo.replace(utf8 ? /[^\p{L}\p{M}\p{N}._:[\]-]/gu : /[^A-Za-z0-9._:[\]-]/gu, "?");
  return name.slice(0, 255) || "unknown";
}

function plainAddress(address: string, utf8: boolean): boolean {
  const plain = /^[A-Za-z0-9!#$%&'*+/=?^_`{|}~.@:[\]-]+$/;
  const plainUtf8 = /^[\p{L}\p{M}\p{N}!#$%&'*+/=?^_`{|}~.@:[\]-]+$/u;
  return address.length <= 254 && (utf8 ? plainUtf8 : plain).test(address);
}

let lastSecond = Number.NaN;
let lastDate = "";

/** RFC 5322 §3.3, always in UTC. Kept for the second, in which thousands of messages may arrive. */
function dateOf(at: number): string {
  const second = Math.floor(at / 1_000);
  if (second !== lastSecond) {
    lastSecond = second;
    lastDate = new Date(at).toUTCString().replace("GMT", "+0000");
  }
  return lastDate;
}
