import libmime from "libmime";

/** What nearly every message is written in: no need to ask. */
const common =
  /^(?:utf-?8|us-ascii|ascii|iso-8859-15?|windows-125[0-8]|iso-2022-jp|gb2312|gbk|big5|koi8-r)$/i;

/** Whether the parser can read a charset. UTF-7 it refuses, since markup can hide in it. */
export function charsetIsKnown(charset: string): boolean {
  return common.test(charset) || libmime.createDecodeStream(charset).supported;
}

/** Decodes the encoded words (RFC 2047) of an unfolded field body. */
export function decodeWords(value: string): string {
  return value.includes("=?") ? libmime.decodeWords(value) : value;
}

/** The charsets that the encoded words of a field body name. */
export function charsetsOfWords(value: string): string[] {
  if (!value.includes("=?")) return [];
  return [...value.matchAll(/=\?([\w_-]{1,100})(?:\*[\w-]*)?\?[bq]\?/gi)].map((word) => word[1] as string);
}
