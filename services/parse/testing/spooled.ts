import { createHash } from "node:crypto";
import { type Manifest, type MessageId, newMessageId } from "@millrace/mail";
import type { Draft, Spool } from "@millrace/spool";

/** What an edge would have written of a message with this body. */
export function manifestOf(id: MessageId, body: Buffer): Manifest {
  return {
    v: 1,
    id,
    receivedAt: Date.now(),
    size: body.length,
    sha256: createHash("sha256").update(body).digest("hex"),
    receivedFieldSize: 0,
    envelope: {
      from: "sender@example.com",
      recipients: ["rcpt@example.com"],
      smtputf8: false,
      body: null,
      client: { ip: "127.0.0.1", port: 1 },
      helo: "client.example.com",
      protocol: "ESMTP",
      tls: null,
      user: null,
    },
  };
}

/** Puts a message into the spool. */
export async function spooled(spool: Spool, body: Buffer | string): Promise<MessageId> {
  const octets = Buffer.from(body);
  const id = newMessageId();
  const draft: Draft = spool.draft(id);
  await draft.write(octets);
  await draft.commit(manifestOf(id, octets), []);
  return id;
}
