import type { Manifest, ParsedMessage } from "@millrace/mail";

/** Characters of a message's text that can be found. What stands behind them is in the blob, not in the index. */
const searchableCharacters = 32_768;
/** Characters of HTML that are looked at for a message without plain text: tags take most of them. */
const readCharacters = 4 * searchableCharacters;

/** What one message can be found by. */
export interface SearchableWords {
  subject: string;
  addresses: string;
  text: string;
}

/**
 * The same words again when the message is removed, or some of them would stay in the full-text index: whoever changes
 * this gives files that exist a new index.
 */
export function searchableWords(manifest: Manifest, parsed: ParsedMessage): SearchableWords {
  const { envelope } = manifest;
  const addresses = new Set([envelope.from, ...envelope.recipients]);
  for (const field of [parsed.from, parsed.sender, parsed.replyTo, parsed.to, parsed.cc, parsed.bcc]) {
    for (const { name, address } of field) addresses.add(name).add(address);
  }
  const text = parsed.text.trim() === "" ? textOfHtml(parsed.html.slice(0, readCharacters)) : parsed.text;
  return {
    subject: parsed.subject.slice(0, searchableCharacters),
    addresses: [...addresses].join("\n").slice(0, searchableCharacters),
    text: text.slice(0, searchableCharacters),
  };
}

/** The words between the tags, for the index only. Every pattern is linear: the input is a stranger's. */
function textOfHtml(html: string): string {
  return html
    .split(/<\/(?:style|script)\b/i)
    .map((piece) => piece.split(/<(?:style|script)\b/i, 1)[0])
    .join(" ")
    .replace(/<[^<>]*>/g, " ");
}

/**
 * A full-text query out of what a person typed: every word must be there, "…" is a phrase, a `*` behind a word or
 * phrase makes its end open. Everything else is words, so that no input is a syntax error.
 * @returns undefined when nothing was typed that could be looked for
 */
export function searchQuery(typed: string): string | undefined {
  const terms: string[] = [];
  for (const [, phrase, phraseEnd, word = ""] of typed.matchAll(/"([^"]*)"?(\*?)|([^\s"]+)/g)) {
    const open = phrase === undefined ? word.endsWith("*") : phraseEnd === "*";
    // NUL ends a query for SQLite wherever it stands.
    const words = (phrase ?? word).replaceAll("\0", " ");
    // The tokenizer keeps letters and digits; a term without any would match nothing at all.
    if (/[\p{L}\p{N}]/u.test(words)) terms.push(`"${words}"${open ? "*" : ""}`);
  }
  return terms.length === 0 ? undefined : terms.join(" AND ");
}
