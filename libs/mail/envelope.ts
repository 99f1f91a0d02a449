import { z } from "zod";
import { messageIdSchema } from "./message-id.ts";

/**
 * The SMTP transaction a message came in with: never the header's From and To.
 * `from` is the reverse-path without brackets; empty for the null reverse-path (RFC 5321 §4.5.5).
 */
export const envelopeSchema = z.object({
  from: z.string(),
  recipients: z.array(z.string().min(1)).min(1),
  smtputf8: z.boolean(),
  /** BODY parameter of MAIL (RFC 6152); null when the client gave none. */
  body: z.enum(["7bit", "8bitmime"]).nullable(),
  client: z.object({ ip: z.string(), port: z.number().int() }),
  helo: z.string(),
  /** "ESMTP", "ESMTPS", "SMTP" …: the `with` word of our Received field (RFC 3848). */
  protocol: z.string(),
  /**
   * TLS of the client's connection; "unknown" where a proxy ended it and did not say. `clientName` is the common name
   * in a certificate that the client showed to the proxy, and that the proxy has verified.
   */
  tls: z.object({ version: z.string(), cipher: z.string(), clientName: z.string().optional() }).nullable(),
  /** Name of the authenticated user, or null. */
  user: z.string().nullable(),
  /** What policies have tagged the transaction with, in the order they did; absent when none has. */
  tags: z.array(z.string()).optional(),
});
export type Envelope = z.infer<typeof envelopeSchema>;

/** The `protocol` of messages that we make ourselves: no client can choose it. */
export const localProtocol = "LOCAL";

/**
 * What is known of a message from the moment it is accepted. The manifest is the truth that a message
 * exists; a BullMQ job only wakes somebody up for it.
 */
export const manifestSchema = z.object({
  v: z.literal(1),
  id: messageIdSchema,
  /** Milliseconds since the epoch at which the final dot had arrived. */
  receivedAt: z.number().int(),
  /** Octets as the client sent them, after dot-unstuffing, before our Received field. */
  size: z.number().int().nonnegative(),
  /** SHA-256 of those octets, hexadecimal. */
  sha256: z.string().regex(/^[0-9a-f]{64}$/),
  /** Octets of our own Received field, which stands before the client's in the stored body. */
  receivedFieldSize: z.number().int().nonnegative(),
  envelope: envelopeSchema,
});
export type Manifest = z.infer<typeof manifestSchema>;
