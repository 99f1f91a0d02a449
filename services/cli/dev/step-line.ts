import type { JournalEntry, MessageId } from "@millrace/mail";
import { z } from "zod";
import { paint, summary } from "../journal-line.ts";
import { colour, duration, printable } from "../terminal.ts";

/** What a failed run leaves in the journal. */
const failedSchema = z.object({
  failure: z.object({
    class: z.string(),
    message: z.string(),
    /** Line of the worker's own code: `invoices.ts:12:7`. */
    at: z.string().optional(),
  }),
  nextAttemptAt: z.number().optional(),
});

/** The end of a message's id, which is enough to tell those of a day apart. */
export function shortId(id: MessageId): string {
  return id.slice(-8);
}

/** Local time of day with milliseconds. */
export function clock(at: number): string {
  const time = new Date(at);
  return `${time.toTimeString().slice(0, 8)}.${String(time.getMilliseconds()).padStart(3, "0")}`;
}

/**
 * One line for one step of a message: time, short id, event, worker, how long it took, and what came of it.
 * @param subject of the message, where it is known
 */
export function stepLine(entry: JournalEntry, subject: string | undefined): string {
  const took = entry.ms === undefined ? "" : duration(entry.ms);
  const head = [
    colour.dim(clock(entry.at)),
    colour.cyan(shortId(entry.message)),
    paint(entry)(entry.event.padEnd(18)),
    entry.worker.padEnd(12),
    took.padStart(7),
  ].join("  ");
  return `${head}  ${printable(result(entry, subject))}`.trimEnd();
}

function result(entry: JournalEntry, subject: string | undefined): string {
  const named = subject ? JSON.stringify(subject) : "";
  const failed = entry.event.startsWith("job.") ? failedSchema.safeParse(entry.data) : undefined;
  if (failed?.success) {
    const { failure, nextAttemptAt } = failed.data;
    const attempt = `attempt ${entry.attempt ?? 1} of ${named || "it"} failed`;
    const place = failure.at ? ` at ${failure.at}` : "";
    const next =
      nextAttemptAt === undefined
        ? "a dead letter now"
        : `again in ${duration(Math.max(0, nextAttemptAt - entry.at))}`;
    return `${attempt}${place}: ${failure.class}: ${failure.message}; ${next}`;
  }
  if (entry.event === "message.received") {
    const { from, recipients } = entry.data as { from?: string; recipients?: string[] };
    return `${entry.message}  <${from ?? ""}> to ${(recipients ?? []).join(", ")}`;
  }
  // Whose own event it is, nobody here knows: it is shown as it is.
  const own = !/^(message|delivery|job)\./.test(entry.event) && Object.keys(entry.data).length > 0;
  return [summary(entry), own ? JSON.stringify(entry.data) : "", named].filter(Boolean).join("  ");
}
