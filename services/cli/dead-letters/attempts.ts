import type { JournalEntry } from "@millrace/mail";
import type { DeadLetter } from "@millrace/mailstore";

/** One line of a dead letter's history. */
export interface AttemptLine {
  /** ISO 8601. */
  at: string;
  attempt: number | null;
  /** Milliseconds it took. */
  ms: number | null;
  event: string;
  /** The far side's words, or the reason. */
  reply: string;
}

/** Everything in a message's journal about one job: each attempt, its end, and earlier lives of it. */
export function attemptsOf(letter: DeadLetter, journal: readonly JournalEntry[]): AttemptLine[] {
  return journal.filter((entry) => concerns(letter, entry)).map(lineOf);
}

function concerns(letter: DeadLetter, { event, worker, data }: JournalEntry): boolean {
  if (data.job === letter.job) {
    // A delivery's own events tell of each attempt already, recipient by recipient.
    return !(event === "job.deferred" && letter.target !== null);
  }
  return (
    worker === letter.worker &&
    letter.target !== null &&
    data.target === letter.target &&
    event !== "delivery.requested"
  );
}

function lineOf({ at, attempt, ms, event, data }: JournalEntry): AttemptLine {
  const failure = data.failure as { reply?: string; message?: string } | undefined;
  const words = [data.reply, failure?.reply, failure?.message, data.reason, data.by && `by ${data.by}`];
  const recipients =
    event.startsWith("delivery.") && Array.isArray(data.recipients) ? ` (${data.recipients.join(", ")})` : "";
  return {
    at: new Date(at).toISOString(),
    attempt: attempt ?? null,
    ms: typeof data.ms === "number" ? data.ms : (ms ?? null),
    event,
    reply: `${words.find((word) => typeof word === "string" && word !== "") ?? ""}${recipients}`,
  };
}
