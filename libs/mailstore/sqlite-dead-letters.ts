import type { DatabaseSync, SQLOutputValue } from "node:sqlite";
import type { JournalEntry } from "@millrace/mail";
import type { DeadLetter, DeadLetterCount, DeadLetterPage, DeadLetterQuery } from "./dead-letter.ts";
import type { JobRecord } from "./delivery-projection.ts";
import { Conditions } from "./sqlite-conditions.ts";
import { Statements } from "./sqlite-connection.ts";

/** Dead letters in SQLite: a projection of the journal, so that none can be there without its history. */
export class SqliteDeadLetters {
  private readonly statements: Statements;

  constructor(db: DatabaseSync) {
    this.statements = new Statements(db);
  }

  list(query: DeadLetterQuery, page: DeadLetterPage): DeadLetter[] {
    const conditions = conditionsOf(query);
    if (page.after !== undefined) conditions.add("number > ?", page.after);
    if (page.before !== undefined) conditions.add("number < ?", page.before);
    const order = page.newestFirst ? "DESC" : "ASC";
    return this.statements
      .get(`SELECT * FROM dead_letters ${conditions.where()} ORDER BY number ${order} LIMIT ?`)
      .all(...conditions.values, page.limit)
      .map(deadLetterOf);
  }

  count(query: DeadLetterQuery): DeadLetterCount {
    const conditions = conditionsOf(query);
    const rows = this.statements
      .get(
        `SELECT worker, coalesce(code, class) AS error, count(*) AS letters, max(number) AS newest
         FROM dead_letters ${conditions.where()} GROUP BY 1, 2 ORDER BY letters DESC, 1, 2`,
      )
      .all(...conditions.values);
    return {
      total: rows.reduce((sum, row) => sum + Number(row.letters), 0),
      newest: rows.reduce((most, row) => Math.max(most, Number(row.newest)), 0),
      groups: rows.map((row) => ({
        worker: String(row.worker),
        error: String(row.error),
        count: Number(row.letters),
      })),
    };
  }

  /** Applies an entry about a job's end or its return. To be run in the transaction that archives it. */
  apply(entry: JournalEntry, job: JobRecord): void {
    if (entry.event === "job.dead") this.keep(entry, job);
    else {
      this.statements
        .get("DELETE FROM dead_letters WHERE message = ? AND worker = ? AND job = ?")
        .run(entry.message, job.worker, job.job);
    }
  }

  private keep(entry: JournalEntry, job: JobRecord): void {
    const message = this.statements
      .get("SELECT sender, recipients, subject FROM messages WHERE id = ?")
      .get(entry.message);
    const { failure } = job;
    this.statements
      .get(
        `INSERT OR REPLACE INTO dead_letters
         (message, worker, job, at, attempts, target, label, class, code, error, permanent, status, reply,
          sender, recipients, subject)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
      )
      .run(
        entry.message,
        job.worker,
        job.job,
        Math.round(entry.at),
        job.attempts ?? entry.attempt ?? null,
        job.target ?? null,
        job.label ?? null,
        failure.class,
        failure.code ?? null,
        failure.message,
        failure.permanent ? 1 : 0,
        failure.status ?? null,
        failure.reply ?? null,
        message?.sender ?? null,
        job.recipients ? JSON.stringify(job.recipients) : (message?.recipients ?? null),
        message?.subject ?? null,
      );
  }
}

function conditionsOf(query: DeadLetterQuery): Conditions {
  const conditions = new Conditions();
  if (query.numbers) conditions.oneOf("number", query.numbers);
  if (query.messages) conditions.oneOf("message", query.messages);
  if (query.worker !== undefined) conditions.add("worker = ?", query.worker);
  if (query.since !== undefined) conditions.add("at >= ?", query.since);
  if (query.until !== undefined) conditions.add("at < ?", query.until);
  if (query.error !== undefined)
    conditions.anywhere(["code", "class", "status", "error", "reply"], query.error);
  if (query.target !== undefined) conditions.anywhere(["target", "label"], query.target);
  if (query.subject !== undefined) conditions.anywhere(["subject"], query.subject);
  if (query.sender !== undefined) conditions.address("sender", query.sender);
  if (query.recipient !== undefined) conditions.oneOfAddresses("recipients", query.recipient);
  return conditions;
}

function deadLetterOf(row: Record<string, SQLOutputValue>): DeadLetter {
  const text = (value: SQLOutputValue | undefined) =>
    value === null || value === undefined ? null : String(value);
  return {
    number: Number(row.number),
    message: String(row.message),
    worker: String(row.worker),
    job: String(row.job),
    at: new Date(Number(row.at)).toISOString(),
    attempts: row.attempts === null ? null : Number(row.attempts),
    target: text(row.target),
    label: text(row.label),
    class: String(row.class),
    code: text(row.code),
    error: String(row.error),
    permanent: row.permanent === 1n,
    status: text(row.status),
    reply: text(row.reply),
    sender: text(row.sender),
    recipients: row.recipients === null ? null : JSON.parse(String(row.recipients)),
    subject: text(row.subject),
  };
}
