import type { DatabaseSync } from "node:sqlite";
import { compareSeq, type JournalEntry, type MessageId, parseSeq } from "@millrace/mail";
import {
  applyEntry,
  concernsDelivery,
  jobRecord,
  messageState,
  type TargetRow,
} from "./delivery-projection.ts";
import type { DeliveryStatus } from "./mail-store.ts";
import { Statements } from "./sqlite-connection.ts";
import type { SqliteDeadLetters } from "./sqlite-dead-letters.ts";
import type { SqliteRemoval } from "./sqlite-removal.ts";

/** The journal for good in SQLite, and what follows from it: deliveries, dead letters, states. */
export class SqliteJournal {
  private readonly statements: Statements;
  private readonly deadLetters: SqliteDeadLetters;
  private readonly removal: SqliteRemoval;

  constructor(db: DatabaseSync, deadLetters: SqliteDeadLetters, removal: SqliteRemoval) {
    this.statements = new Statements(db);
    this.deadLetters = deadLetters;
    this.removal = removal;
  }

  cursor(): string {
    return String(this.statements.get("SELECT value FROM meta WHERE key = 'cursor'").get()?.value);
  }

  /** Takes over what lies behind the cursor. To be run in a transaction. */
  archive(entries: readonly JournalEntry[]): void {
    let cursor = this.cursor();
    const touched = new Map<MessageId, TouchedMessage>();
    for (const entry of entries.toSorted((a, b) => compareSeq(a.seq, b.seq))) {
      if (compareSeq(entry.seq, cursor) <= 0) continue;
      cursor = entry.seq;
      if (this.removal.isRemoved(entry.message)) continue;
      this.insert(entry);
      if (concernsDelivery(entry)) {
        let message = touched.get(entry.message);
        if (!message) {
          message = { rows: this.targets(entry.message), changed: new Set() };
          touched.set(entry.message, message);
        }
        for (const target of applyEntry(message.rows, entry)) message.changed.add(target);
      }
      const job = jobRecord(entry);
      if (job) this.deadLetters.apply(entry, job);
    }
    for (const [id, message] of touched) this.write(id, message);
    this.statements.get("UPDATE meta SET value = ? WHERE key = 'cursor'").run(cursor);
  }

  entries(message: MessageId): JournalEntry[] {
    return this.statements
      .get("SELECT * FROM journal WHERE message = ? ORDER BY seq_ms, seq_n")
      .all(message)
      .map((row) => ({
        seq: `${row.seq_ms}-${row.seq_n}`,
        at: Number(row.at),
        message,
        event: String(row.event),
        worker: String(row.worker),
        ...(row.attempt === null ? {} : { attempt: Number(row.attempt) }),
        ...(row.ms === null ? {} : { ms: Number(row.ms) }),
        data: JSON.parse(String(row.data)),
      }));
  }

  deliveries(message: MessageId): DeliveryStatus[] {
    return Array.from(this.targets(message).values(), ({ recipients, lastAt, ...row }) => ({
      target: row.target,
      label: row.label,
      recipients: [...recipients.keys()],
      delivered: [...recipients].filter(([, state]) => state === "delivered").map(([who]) => who),
      state: row.state,
      attempts: row.attempts,
      lastAttemptAt: lastAt === null ? null : new Date(lastAt).toISOString(),
      lastReply: row.lastReply,
    }));
  }

  private targets(message: MessageId): Map<string, TargetRow> {
    const rows = this.statements
      .get("SELECT * FROM deliveries WHERE message = ? ORDER BY label, target")
      .all(message)
      .map((row) => ({
        target: String(row.target),
        label: String(row.label),
        recipients: new Map<string, DeliveryStatus["state"]>(JSON.parse(String(row.recipients))),
        state: row.state as DeliveryStatus["state"],
        attempts: Number(row.attempts),
        lastAt: row.last_at === null ? null : Number(row.last_at),
        lastReply: row.last_reply === null ? null : String(row.last_reply),
      }));
    return new Map(rows.map((row) => [row.target, row]));
  }

  private insert(entry: JournalEntry): void {
    const [ms, n] = parseSeq(entry.seq);
    this.statements
      .get("INSERT INTO journal VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)")
      .run(
        entry.message,
        ms,
        n,
        Math.round(entry.at),
        entry.event,
        entry.worker,
        entry.attempt ?? null,
        entry.ms ?? null,
        JSON.stringify(entry.data),
      );
  }

  private write(id: MessageId, { rows, changed }: TouchedMessage): void {
    if (changed.size === 0) return;
    for (const target of changed) {
      const row = rows.get(target);
      if (!row) {
        this.statements.get("DELETE FROM deliveries WHERE message = ? AND target = ?").run(id, target);
        continue;
      }
      this.statements
        .get("INSERT OR REPLACE INTO deliveries VALUES (?, ?, ?, ?, ?, ?, ?, ?)")
        .run(
          id,
          target,
          row.label,
          JSON.stringify([...row.recipients]),
          row.state,
          row.attempts,
          row.lastAt,
          row.lastReply,
        );
    }
    const state = messageState(Array.from(rows.values(), (row) => row.state));
    this.statements.get("UPDATE messages SET state = ? WHERE id = ? AND state <> ?").run(state, id, state);
  }
}

interface TouchedMessage {
  rows: Map<string, TargetRow>;
  changed: Set<string>;
}
