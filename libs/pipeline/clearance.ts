import { type HeaderEdits, headerEditsSchema, type JournalEntry } from "@millrace/mail";

/** What the journal says of a message's leave to be delivered. */
export interface Clearance {
  /** It was given, or a delivery shows that it was not needed. */
  cleared: boolean;
  /** The edits of its header that came with it. */
  header: HeaderEdits | undefined;
}

/** Entries that give leave and carry the edits: a worker's, and a person's who released the message. */
const leave: ReadonlySet<string> = new Set(["message.cleared", "quarantine.released"]);

/** The last word counts: who is delivered to later gets the message as it was cleared last. */
export function clearanceOf(journal: readonly JournalEntry[]): Clearance {
  const clearance: Clearance = { cleared: false, header: undefined };
  for (const { event, data } of journal) {
    if (leave.has(event)) {
      clearance.cleared = true;
      clearance.header = headerEditsSchema.optional().catch(undefined).parse(data.header);
    } else if (event.startsWith("delivery.")) clearance.cleared = true;
  }
  return clearance;
}
