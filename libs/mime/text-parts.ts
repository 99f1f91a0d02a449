import type { AddressObject, Headers, HeaderValue } from "mailparser";
import { type Defects, storable } from "./defects.ts";
import { wordsOfHtml } from "./html-words.ts";
import type { ParseLimits } from "./parse-limits.ts";

/** A stretch of a message's text, in the order of the message. */
export interface TextPart {
  kind: "plain" | "html";
  /** Whether it is one of several ways to say the same (multipart/alternative). */
  alternative: boolean;
  content(): string;
}

/** What stands above the text of a message that lies inside another, as it does when one is forwarded. */
export function embeddedHeader(headers: Headers): TextPart {
  const fields = ["From", "Subject", "Date", "To", "Cc"].flatMap((name) => {
    const text = textOf(headers.get(name.toLowerCase()));
    return text ? [`${name}: ${text}`] : [];
  });
  return { kind: "plain", alternative: false, content: () => `\n${fields.join("\n")}\n` };
}

function textOf(value: HeaderValue | undefined): string {
  const first = [value].flat()[0];
  if (first === undefined || typeof first === "string") return first ?? "";
  return first instanceof Date ? first.toUTCString() : (first as AddressObject).text;
}

/**
 * Puts a message's texts together. HTML that is no alternative to a plain text adds its words to `text`, so that
 * whoever searches or reads without HTML finds all of the message there.
 */
export function joinTexts(
  parts: readonly TextPart[],
  limits: ParseLimits,
  defects: Defects,
): { text: string; html: string } {
  const htmls = parts.filter(({ kind }) => kind === "html").map((part) => part.content());
  let room = limits.maxHtmlLength;
  const words = (html: string): string => {
    if (html.length > room)
      defects.add("text-truncated", `words of HTML past ${limits.maxHtmlLength} characters`);
    const found = wordsOfHtml(html, room);
    room -= Math.min(room, html.length);
    return found;
  };

  let text = parts
    .filter(({ kind, alternative }) => kind === "plain" || !alternative)
    .map((part) => (part.kind === "plain" ? part.content() : words(part.content())))
    .join("\n");
  if (htmls.length > 0 && text.trim() === "") text = htmls.map(words).join("\n");

  const html = htmls.join("<br/>\n");
  if (text.includes("\ufffd") || html.includes("\ufffd")) defects.add("charset-mismatch");
  return {
    text: cut(text, limits.maxTextBytes, () => defects.add("text-truncated")),
    html: cut(html, limits.maxTextBytes, () => defects.add("html-truncated")),
  };
}

const encoder = new TextEncoder();

/** As much of a text as fits into `max` octets of UTF-8, whole characters only. */
function cut(text: string, max: number, onCut: () => void): string {
  const whole = storable(text);
  if (whole.length * 3 <= max || Buffer.byteLength(whole) <= max) return whole;
  onCut();
  return whole.slice(0, encoder.encodeInto(whole, new Uint8Array(max)).read);
}
