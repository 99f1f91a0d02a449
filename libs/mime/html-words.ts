import { decodeHTML } from "entities";

/** Elements that stand within a line: taking their tags away must not tear a word in two. */
const inline = new Set(
  "a abbr b bdi bdo big cite code del dfn em font i ins kbd label mark q s samp small span strike strong sub sup tt u var wbr".split(
    " ",
  ),
);
/** Elements whose content no reader sees. */
const unseen = new Map(["script", "style", "title"].map((name) => [name, new RegExp(`</${name}`, "gi")]));
const name = /[a-z][a-z0-9]{0,15}/iy;
/** Characters within which the end of a tag is looked for with regard to quotes; past them without. */
const longestTag = 4_096;

/**
 * The words of an HTML text, one line for each block, for those who search or read without HTML. No layout,
 * no links. One pass over the first `limit` characters, so its time grows with them and nothing else.
 */
export function wordsOfHtml(html: string, limit: number): string {
  const source = html.length > limit ? html.slice(0, limit) : html;
  const pieces: string[] = [];
  for (let at = 0; at < source.length; ) {
    const open = source.indexOf("<", at);
    const end = open < 0 ? source.length : open;
    if (end > at) pieces.push(source.slice(at, end).replace(/\s+/g, " "));
    if (open < 0) break;
    at = skipTag(source, open, pieces);
  }
  return decodeHTML(pieces.join(""))
    .replace(/[ \t\r\f\v\u00a0]+/g, " ")
    .replace(/ ?\n[ \n]*/g, "\n")
    .trim();
}

/** Takes what begins with the "<" at `open`: adds what it leaves in the text, answers where the text goes on. */
function skipTag(source: string, open: number, pieces: string[]): number {
  if (source.startsWith("<!--", open)) return after(source.indexOf("-->", open + 4), 3, source);
  const closing = source.charCodeAt(open + 1) === 0x2f;
  const element = tagName(source, closing ? open + 2 : open + 1);
  if (element === "") {
    const second = source[open + 1];
    if (second === "!" || second === "?" || second === "/")
      return after(source.indexOf(">", open), 1, source);
    pieces.push("<");
    return open + 1;
  }
  if (!inline.has(element)) pieces.push("\n");
  const end = tagEnd(source, open + 1);
  const content = closing ? undefined : unseen.get(element);
  if (!content) return end;
  content.lastIndex = end;
  const close = content.exec(source);
  return close ? close.index : source.length;
}

function tagName(source: string, start: number): string {
  name.lastIndex = start;
  return name.exec(source)?.[0].toLowerCase() ?? "";
}

/** Where the text after a tag begins. A ">" within quotes is not its end, unless the quote is never closed. */
function tagEnd(source: string, start: number): number {
  let quote = 0;
  for (let at = start; at < start + longestTag && at < source.length; at++) {
    const code = source.charCodeAt(at);
    if (quote) {
      if (code === quote) quote = 0;
    } else if (code === 0x3e) return at + 1;
    else if (code === 0x22 || code === 0x27) quote = code;
  }
  return after(source.indexOf(">", start), 1, source);
}

function after(found: number, length: number, source: string): number {
  return found < 0 ? source.length : found + length;
}
