/** The part after the last "@", in lower case; "" for a bare local part such as `postmaster`. */
export function domainOf(address: string): string {
  const at = address.lastIndexOf("@");
  return at < 0 ? "" : address.slice(at + 1).toLowerCase();
}

/** The part before the last "@"; the whole of an address that has none. */
export function localPartOf(address: string): string {
  const at = address.lastIndexOf("@");
  return at < 0 ? address : address.slice(0, at);
}

/**
 * A file name for an address: what a file system could take for something else is written as `%XX`, so that
 * `../../etc@example.com`, `a/b@example.com` and `CON@example.com` name one plain folder each, and two
 * addresses never the same one. Case is folded, since mailboxes are matched without it.
 */
export function addressFileName(address: string): string {
  const encoded = [...Buffer.from(address.toLowerCase(), "utf8")]
    .map((byte) => {
      const char = String.fromCharCode(byte);
      return /[a-z0-9@._+=-]/.test(char) ? char : `%${byte.toString(16).padStart(2, "0").toUpperCase()}`;
    })
    .join("");
  const dotted = encoded.startsWith(".") ? `%2E${encoded.slice(1)}` : encoded;
  // File systems end names at 255 octets; the digest keeps two long addresses apart.
  return dotted.length <= 200 ? dotted : `${dotted.slice(0, 160)}%${fnv1a(address.toLowerCase())}`;
}

/** 64-bit FNV-1a, hexadecimal: a short, stable name, not a secret. */
export function fnv1a(text: string): string {
  let hash = 0xcbf29ce484222325n;
  for (const byte of Buffer.from(text, "utf8")) {
    hash = BigInt.asUintN(64, (hash ^ BigInt(byte)) * 0x100000001b3n);
  }
  return hash.toString(16).padStart(16, "0");
}
