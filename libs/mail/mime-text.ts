/** A leaf of a MIME message: header lines without CRLF, and a body that is 7-bit with CRLF line ends. */
export interface TextPart {
  headers: string[];
  body: string;
}

/** Octets a line may have, its CRLF not counted (RFC 5322 §2.1.1), and how many it should have. */
const longestLine = 998;
const width = 76;

/**
 * Text as a part of a message: as it is where it is 7-bit with proper lines, else quoted-printable (RFC 2045 §6.7).
 * Line ends of whatever kind come out as CRLF.
 */
export function transferEncoded(type: string, text: Buffer): TextPart {
  const lines = text.toString("latin1").split(/\r\n|\r|\n/);
  const plain = lines.every((line) => line.length <= longestLine && /^[\t\x20-\x7e]*$/.test(line));
  return {
    headers: [`Content-Type: ${type}`, `Content-Transfer-Encoding: ${plain ? "7bit" : "quoted-printable"}`],
    body: (plain ? lines : lines.map(quotedPrintable)).join("\r\n"),
  };
}

/** One line, octets as characters; soft breaks keep the encoded lines short. */
function quotedPrintable(line: string): string {
  let out = "";
  let column = 0;
  for (const [index, char] of [...line].entries()) {
    const last = index === line.length - 1;
    const literal = /[!-<>-~]/.test(char) || (/[ \t]/.test(char) && !last);
    const piece = literal ? char : `=${char.charCodeAt(0).toString(16).toUpperCase().padStart(2, "0")}`;
    if (column + piece.length > width - 1) {
      out += "=\r\n";
      column = 0;
    }
    out += piece;
    column += piece.length;
  }
  return out;
}

/** Text as encoded words (RFC 2047), as many as it takes, folded between them; at most about `most` characters of it. */
export function encodedWord(text: string, most = 300): string {
  const words: string[] = [];
  let piece = "";
  const end = () => {
    if (piece) words.push(`=?utf-8?B?${Buffer.from(piece, "utf8").toString("base64")}?=`);
    piece = "";
  };
  for (const char of [...text.toWellFormed()].slice(0, most)) {
    if (Buffer.byteLength(piece + char) > 42) end();
    piece += char;
  }
  end();
  return words.join("\r\n ");
}

/** A header field, folded where it has spaces, and by force where it has none and would be too long for a line. */
export function foldedField(name: string, value: string): string {
  const lines: string[] = [];
  let line = `${name}:`;
  for (const word of value.split(/ +/).flatMap((each) => each.match(/.{1,900}/gs) ?? [])) {
    if (line.length + 1 + word.length > width && line !== `${name}:`) {
      lines.push(line);
      line = "";
    }
    line += ` ${word}`;
  }
  return [...lines, line].join("\r\n");
}

/** One line without control characters, whatever alphabet. */
export function plainLine(text: string): string {
  return text
    .slice(0, 2_000)
    .toWellFormed()
    .replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\s]+/gu, " ");
}

/** One line of printable ASCII, with a question mark for every other character. */
export function asciiOf(text: string): string {
  return plainLine(text).replace(/[^\x20-\x7e]/gu, "?");
}
