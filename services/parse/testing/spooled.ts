import { type MessageId, newMessageId } from "@millrace/mail";
import type { Draft, Spool } from "@millrace/spool";
import { manifestOf } from "@millrace/test/message";

/** Puts a message into the spool. */
export async function spooled(spool: Spool, body: Buffer | string): Promise<MessageId> {
  const octets = Buffer.from(body);
  const id = newMessageId();
  const draft: Draft = spool.draft(id);
  await draft.write(octets);
  await draft.commit(manifestOf(octets, {}, id), []);
  return id;
}
