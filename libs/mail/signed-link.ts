import { createHmac, timingSafeEqual } from "node:crypto";

/** Seconds a link works when nothing else is said: seven days. */
export const linkLifetime = 7 * 86_400;

/**
 * A path with a signature that lets whoever has it fetch this path, and no other, until it expires:
 * `<path>?expires=<seconds since the epoch>&signature=<HMAC-SHA256, base64url>`.
 *
 * @param path absolute, without a query
 */
export function signLink(
  path: string,
  secret: Uint8Array,
  expires = Math.floor(Date.now() / 1_000) + linkLifetime,
): string {
  return `${path}?expires=${expires}&signature=${signatureOf(path, secret, String(expires))}`;
}

/** Whether a link's query was made by {@link signLink} for this path: "forged" also when a part of it is missing. */
export function verifyLink(
  path: string,
  query: URLSearchParams,
  secret: Uint8Array,
  now = Date.now(),
): "valid" | "expired" | "forged" {
  const expires = query.get("expires") ?? "";
  const given = Buffer.from(query.get("signature") ?? "", "utf8");
  const expected = Buffer.from(signatureOf(path, secret, expires), "utf8");
  if (given.length !== expected.length || !timingSafeEqual(given, expected)) return "forged";
  return Number(expires) * 1_000 > now ? "valid" : "expired";
}

function signatureOf(path: string, secret: Uint8Array, expires: string): string {
  return createHmac("sha256", secret).update(`${expires}\n${path}`).digest("base64url");
}
