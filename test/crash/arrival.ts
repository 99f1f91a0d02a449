import { hash } from "node:crypto";

/** A message as a target has received it. */
export interface Arrival {
  /** Our id of the message, out of the Received field or the payload; "" when it has none. */
  id: string;
  /** SHA-256 of what the sender had sent, in hexadecimal. */
  sha256: string;
  recipients: string[];
  /** The webhook's own id of the delivery. */
  deliveryId?: string;
}

/** Takes a message that was delivered apart: the lines our side has put first, and what the sender had sent. */
export function readDelivered(raw: Buffer): Pick<Arrival, "id" | "sha256"> {
  const start = raw.toString("latin1", 0, Math.min(raw.length, 4_096));
  const field = /^(?:Return-Path: [^\n]*\nDelivered-To: [^\n]*\n)?Received: [^\n]*\n(?:[\t ][^\n]*\n)*/.exec(
    start,
  );
  const head = field?.[0] ?? "";
  return {
    id: /\sid ([0-9a-z]{26})/.exec(head)?.[1] ?? "",
    sha256: hash("sha256", raw.subarray(head.length), "hex"),
  };
}
