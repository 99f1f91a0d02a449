import { createHmac } from "node:crypto";

/**
 * The key behind a secret: the octets of a `whsec_<base64>`; of any other text, its UTF-8 octets.
 *
 * A receiver verifies with any Standard Webhooks library, which takes a secret in base64: the `whsec_…` as it is,
 * and for another text `base64(text)`:
 *
 *     new Webhook(secret).verify(body, headers)                                  // whsec_…
 *     new Webhook(Buffer.from(secret).toString("base64")).verify(body, headers)  // any other text
 */
export function webhookKey(secret: string): Buffer {
  const base64 = /^whsec_([A-Za-z0-9+/]+={0,2})$/.exec(secret)?.[1];
  return base64 ? Buffer.from(base64, "base64") : Buffer.from(secret, "utf8");
}

/**
 * The headers of a request as Standard Webhooks 1.0 has them (https://www.standardwebhooks.com): HMAC-SHA256 over
 * `<id>.<timestamp>.<body>`, which the package `standardwebhooks` verifies. It could sign as well, in JavaScript, which
 * for a body of 7 MB stops the process for 100 ms; node:crypto takes 9.
 *
 * @param id the same at every attempt, for the receiver to tell a repetition
 * @param seconds time of the attempt, since the epoch
 * @param key undefined for a webhook without a secret: it goes unsigned
 */
export function webhookHeaders(
  id: string,
  seconds: number,
  body: Buffer,
  key: Buffer | undefined,
): Record<string, string> {
  const headers = { "webhook-id": id, "webhook-timestamp": String(seconds) };
  if (!key) return headers;
  const signature = createHmac("sha256", key).update(`${id}.${seconds}.`).update(body).digest("base64");
  return { ...headers, "webhook-signature": `v1,${signature}` };
}
