import { createHash } from "node:crypto";
import { type Envelope, type Manifest, type MessageId, newMessageId } from "@millrace/mail";
import type { Intake } from "@millrace/pipeline/runtime";
import { until } from "./until.ts";

/** What an edge writes of a message with these octets: from a@b.test to c@d.test, unless the envelope says otherwise. */
export function manifestOf(
  octets: Buffer,
  envelope: Partial<Envelope> = {},
  id: MessageId = newMessageId(),
): Manifest {
  return {
    ...{ v: 1, id, receivedAt: Date.now(), size: octets.length, receivedFieldSize: 0 },
    sha256: createHash("sha256").update(octets).digest("hex"),
    envelope: {
      ...{ from: "a@b.test", recipients: ["c@d.test"], smtputf8: false, body: null, user: null },
      ...{ client: { ip: "127.0.0.1", port: 1 }, helo: "h", protocol: "ESMTP", tls: null },
      ...envelope,
    },
  };
}

/** Takes a message in as an edge does, as soon as the pipeline takes any. */
export async function accept(
  intake: Pick<Intake, "unavailable" | "draft" | "accept">,
  octets: Buffer | string,
  envelope: Partial<Envelope> = {},
): Promise<MessageId> {
  await until(() => intake.unavailable() === undefined);
  const body = Buffer.from(octets);
  const manifest = manifestOf(body, envelope);
  const draft = intake.draft(manifest.id);
  await draft.write(body);
  await intake.accept(draft, manifest);
  return manifest.id;
}
