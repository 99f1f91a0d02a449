import { createHash } from "node:crypto";
import { Readable } from "node:stream";
import {
  type Envelope,
  emptyParsedMessage,
  newMessageId,
  type ParsedMessage,
  type TargetConfig,
} from "@millrace/mail";
import type { DeliveryRequest } from "../../transport.ts";

interface Wanted {
  recipients?: string[];
  envelope?: Partial<Envelope>;
  raw?: Buffer | string;
  /** A size that is too large for the message to be read in one piece makes a transport stream it. */
  size?: number;
  parsed?: Partial<ParsedMessage>;
  signal?: AbortSignal;
  target?: TargetConfig;
}

/** A small message as a request to deliver it. */
export function requestFor(wanted: Wanted = {}): DeliveryRequest {
  const recipients = wanted.recipients ?? ["to@example.com"];
  const raw = Buffer.from(wanted.raw ?? "From: from@example.com\r\nSubject: hello\r\n\r\nhello\r\n");
  const message = newMessageId();
  const target = {
    id: "test-0123456789abcdef",
    transport: "smtp" as const,
    label: "test",
    config: wanted.target ?? { smtp: "smtp://127.0.0.1" },
    recipients,
  };
  return {
    message,
    manifest: {
      v: 1,
      id: message,
      receivedAt: Date.now(),
      size: raw.length,
      sha256: createHash("sha256").update(raw).digest("hex"),
      receivedFieldSize: 0,
      envelope: {
        from: "from@example.com",
        recipients,
        smtputf8: false,
        body: null,
        client: { ip: "127.0.0.1", port: 1 },
        helo: "client.example",
        protocol: "ESMTP",
        tls: null,
        user: null,
        ...wanted.envelope,
      },
    },
    target,
    recipients,
    attempt: 1,
    deliveryId: `${message}.${target.id}`,
    raw: async () => Readable.from(chunksOf(raw), { objectMode: false }),
    read: async () => raw,
    size: wanted.size ?? raw.length,
    parsed: async () => ({ ...emptyParsedMessage([]), ...wanted.parsed }),
    signal: wanted.signal ?? new AbortController().signal,
  };
}

function* chunksOf(raw: Buffer): Generator<Buffer> {
  for (let at = 0; at < raw.length; at += 10_007) yield raw.subarray(at, at + 10_007);
}
