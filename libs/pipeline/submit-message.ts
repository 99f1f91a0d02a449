import { hash } from "node:crypto";
import { type Envelope, localProtocol, type Manifest, type MessageId } from "@millrace/mail";
import { openingCommands } from "./ledger.ts";
import type { Pipeline } from "./open-pipeline.ts";
import { firstUnits } from "./publish.ts";

/** A message that we make ourselves. */
export interface Submission {
  /** Derived from the reason it is made for (`derivedMessageId`): the same id is the same message. */
  id: MessageId;
  envelope: Pick<Envelope, "from" | "recipients" | "smtputf8" | "body">;
  /** Our name, as its envelope's `helo`. */
  hostname: string;
  /** The whole message, CRLF line ends. */
  octets: Buffer;
  /** Who makes it: a worker's name, for the journal. */
  worker: string;
}

/**
 * Puts a message of our own on its way, as if a client had sent it: it is parsed, stored and routed like any other.
 * When this resolves it is durable. Idempotent: what was submitted before under the same id stays as it is, on its way
 * or long since stored.
 */
export async function submitMessage(pipeline: Pipeline, submission: Submission): Promise<void> {
  const { spool, mailstore, queues } = pipeline;
  const { id, octets, worker } = submission;
  if ((await spool.manifest(id)) || mailstore.has(id)) return;
  const manifest = manifestOf(submission);
  const { envelope, receivedAt, size } = manifest;
  const units = firstUnits(pipeline, manifest);
  if (units.size === 0) throw new Error("no worker has subscribed to message.received");

  const entry = {
    at: receivedAt,
    event: "message.received",
    worker,
    data: { from: envelope.from, recipients: envelope.recipients, client: envelope.client.ip, size },
  };
  // A process that died here may have left some of it.
  await spool.discard(id);
  const draft = spool.draft(id);
  await draft.write(octets);
  await draft.commit(manifest, openingCommands(manifest, units, entry));
  // Whether it was this call that has opened them is not known: another may have submitted the same.
  for (const unit of units.keys()) void queues.wake({ message: id, unit });
}

function manifestOf({ id, envelope, hostname, octets }: Submission): Manifest {
  return {
    v: 1,
    id,
    receivedAt: Date.now(),
    size: octets.length,
    sha256: hash("sha256", octets, "hex"),
    receivedFieldSize: 0,
    envelope: {
      ...envelope,
      client: { ip: "127.0.0.1", port: 0 },
      helo: hostname,
      protocol: localProtocol,
      tls: null,
      user: null,
    },
  };
}
