import { type HeaderEdits, headerEditsSchema, type JournalEntry, type MessageId } from "@millrace/mail";
import type { MailStore } from "@millrace/mailstore";
import { z } from "zod";
import type { Pipeline } from "./open-pipeline.ts";
import { type Unit, unitName } from "./unit.ts";

/** A message that a worker has held back, as the journal tells of it. */
export interface HeldMessage {
  message: MessageId;
  /** Milliseconds since the epoch at which it was held back. */
  at: number;
  /** Worker that did it, and what it names as the reason. */
  worker: string;
  by: string;
  reason: string;
  verdicts?: Record<string, unknown> | undefined;
  /** Edits of its header that go with it when it is released. */
  header?: HeaderEdits | undefined;
  /** What has become of it since; `cleared`: a worker has let it go after all. */
  decision: "none" | "released" | "discarded" | "cleared";
  /** `seq` of the entry that says so: what the next decision answers. */
  seq: string;
}

/** Who decides, and why. */
export interface Decider {
  /** Id of the command's run. */
  run: string;
  /** `user@host`. */
  by: string;
  reason?: string | undefined;
}

/** The event that stands for "deliver it now": whatever the configuration waits for, the deliver worker takes it. */
const goesOnWith = "message.cleared";

const decisions = {
  "message.quarantined": "none",
  "message.cleared": "cleared",
  "quarantine.released": "released",
  "quarantine.discarded": "discarded",
} as const;

const held = z.object({
  by: z.string().catch(""),
  reason: z.string().catch("no reason was recorded"),
  verdicts: z.record(z.string(), z.unknown()).optional().catch(undefined),
  header: headerEditsSchema.optional().catch(undefined),
});

/** What is known of a message that is or was held back; undefined when it never was. */
export function heldMessage(mailstore: Pick<MailStore, "journal">, id: MessageId): HeldMessage | undefined {
  let quarantined: JournalEntry | undefined;
  let last: { decision: HeldMessage["decision"]; seq: string } | undefined;
  for (const entry of mailstore.journal(id)) {
    if (entry.event === "message.quarantined") quarantined = entry;
    if (entry.event in decisions)
      last = { decision: decisions[entry.event as keyof typeof decisions], seq: entry.seq };
  }
  if (!quarantined || !last) return undefined;
  const { at, worker, data } = quarantined;
  return { message: id, at, worker, ...held.parse(data), ...last };
}

/**
 * Sends a message that was held back on to its delivery.
 * @returns false when something has been decided about it since it was looked at
 */
export async function release(
  pipeline: Pick<Pipeline, "quarantine" | "queues" | "mailstore">,
  { message, header, seq }: HeldMessage,
  { run, by, reason }: Decider,
): Promise<boolean> {
  const manifest = pipeline.mailstore.manifest(message);
  if (!manifest) return false;
  const at = Date.now();
  const edits = header ? { header } : {};
  const unit: Unit = { v: 1, event: goesOnWith, at, data: edits, attempts: 0 };
  const name = unitName("deliver", goesOnWith);
  const data = { by, ...(reason === undefined ? {} : { reason }), ...edits };
  const released = await pipeline.quarantine.release(
    manifest,
    { name, unit },
    { answers: seq, run, entry: { at, event: "quarantine.released", worker: "quarantine", data } },
  );
  if (released) await pipeline.queues.wake({ message, unit: name });
  return released;
}

/** Gives a message that was held back up: nobody gets it. @returns false as `release` does */
export function discard(
  { quarantine }: Pick<Pipeline, "quarantine">,
  { message, seq }: HeldMessage,
  { run, by, reason }: Decider,
): Promise<boolean> {
  const data = { by, ...(reason === undefined ? {} : { reason }) };
  const entry = { at: Date.now(), event: "quarantine.discarded", worker: "quarantine", data };
  return quarantine.discard(message, { answers: seq, run, entry });
}
