/** Octets of a sender's file name that are kept, so that with what stands before it no file system refuses the whole. */
const keptOctets = 120;

/**
 * A name for an attachment that no other one has and that means nothing to a file system: the message's id and the
 * attachment's number, then what is harmless of the sender's name. The same at every run, so that a second one finds
 * what the first has written.
 */
export function fileName(message: string, index: number, given: string | null): string {
  return `${message}-${index}-${harmless(given ?? "")}`;
}

function harmless(given: string): string {
  const name = given
    .toWellFormed()
    .normalize("NFC")
    // Letters, digits and marks of any alphabet; a path's separators, quotes, spaces and control characters are not.
    .replace(/[^\p{L}\p{M}\p{N}._-]+/gu, "_")
    .replace(/^[._-]+/, "")
    .replace(/[._]+$/, "");
  if (name === "") return "attachment";
  const extension = /\.[\p{L}\p{N}]{1,10}$/u.exec(name)?.[0] ?? "";
  let stem = name.slice(0, name.length - extension.length);
  while (Buffer.byteLength(stem + extension) > keptOctets) stem = [...stem].slice(0, -1).join("");
  return stem + extension;
}
