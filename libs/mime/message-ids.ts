/** The first message id in a field body, with its brackets; a body without brackets is given them. Null when empty. */
export function firstMessageId(value: string): string | null {
  const bracketed = /<[^<>]+>/.exec(value);
  if (bracketed) return bracketed[0];
  const bare = value.trim().split(/\s/, 1)[0] ?? "";
  return bare === "" ? null : `<${bare.replace(/[<>]/g, "")}>`;
}

/** All message ids of a References field, in their order. */
export function messageIds(value: string): string[] {
  const bracketed = value.match(/<[^<>\s]+>/g);
  if (bracketed) return bracketed;
  return value
    .split(/[\s,]+/)
    .filter((word) => /[^<>]/.test(word))
    .map((word) => `<${word.replace(/[<>]/g, "")}>`);
}
