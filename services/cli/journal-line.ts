import type { JournalEntry } from "@millrace/mail";
import { colour } from "./terminal.ts";

const red: ReadonlySet<string> = new Set(["delivery.bounced", "job.dead", "message.quarantined"]);

/** The colour an entry's event is written in. */
export function paint({ event }: Pick<JournalEntry, "event">): (text: string) => string {
  if (event === "delivery.succeeded" || event === "job.done") return colour.green;
  if (event.endsWith(".deferred")) return colour.yellow;
  if (event.endsWith(".failed") || red.has(event)) return colour.red;
  return (text) => text;
}

/** The part of an entry's data a person looks for first. */
export function summary({ event, data, attempt }: JournalEntry): string {
  const words: string[] = [];
  const add = (text: unknown) => typeof text === "string" && text !== "" && words.push(text);
  if (typeof data.from === "string") words.push(`<${data.from}>`);
  add(data.label ?? data.job);
  if (event === "message.received" && typeof data.client === "string") words.push(`from ${data.client}`);
  if (Array.isArray(data.recipients)) words.push(data.recipients.map((each) => `<${each}>`).join(", "));
  if (Array.isArray(data.tags)) words.push(`tags ${data.tags.join(", ")}`);
  add(data.reply);
  if (event === "message.quarantined" || event.startsWith("quarantine.")) add(data.by);
  add(data.reason);
  if (typeof data.dsn === "string") words.push(`DSN ${data.dsn}`);
  const failure = data.failure as { message?: string; at?: string } | undefined;
  add(failure?.at);
  add(failure?.message);
  if (typeof data.nextAttemptAt === "number")
    words.push(`next ${new Date(data.nextAttemptAt).toISOString()}`);
  if (Array.isArray(data.defects) && data.defects.length > 0)
    words.push(`defects ${data.defects.join(", ")}`);
  if (attempt && attempt > 1) words.push(`attempt ${attempt}`);
  return words.join("  ");
}
