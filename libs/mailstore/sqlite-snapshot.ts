import type { DatabaseSync } from "node:sqlite";
import type { MessageId, MessageState } from "@millrace/mail";
import { Statements } from "./sqlite-connection.ts";
import { SqliteIndex } from "./sqlite-index.ts";
import type { StoreSnapshot } from "./store-snapshot.ts";

/** Takes a snapshot over a connection of its own, which the snapshot closes. */
export function sqliteSnapshot(db: DatabaseSync): StoreSnapshot {
  const statements = new Statements(db);
  // In WAL mode everything read until the end of this transaction is of one instant; the first read begins it.
  db.exec("BEGIN");
  const cursor = String(statements.get("SELECT value FROM meta WHERE key = 'cursor'").get()?.value);
  const number = (sql: string) => Number(Object.values(statements.get(sql).get() ?? {})[0]);
  function* ids(sql: string): Generator<MessageId> {
    for (const row of statements.get(sql).iterate()) yield String(row.id);
  }
  return {
    cursor,
    accepted: number(
      "SELECT count(*) FROM (SELECT DISTINCT message FROM journal WHERE event = 'message.received')",
    ),
    removed: number("SELECT messages FROM tallies WHERE name = 'removed'"),
    counts: new SqliteIndex(db).counts(),
    deadLetters: number("SELECT count(*) FROM dead_letters"),
    hasArrived: (id) =>
      statements
        .get("SELECT 1 FROM journal WHERE message = ? AND event = 'message.received' LIMIT 1")
        .get(id) !== undefined,
    stateOf(id) {
      const row = statements.get("SELECT state FROM messages WHERE id = ?").get(id);
      return row && (String(row.state) as MessageState);
    },
    notStored: () =>
      ids(`SELECT DISTINCT message AS id FROM journal WHERE event = 'message.received'
           AND NOT EXISTS (SELECT 1 FROM messages WHERE messages.id = journal.message)`),
    unfinished: () => ids("SELECT id FROM messages WHERE state IN ('received', 'stored', 'deferred')"),
    unaccepted: () =>
      ids(`SELECT id FROM messages WHERE NOT EXISTS (
             SELECT 1 FROM journal WHERE journal.message = messages.id AND event = 'message.received')`),
    failedSilently: () =>
      ids(`SELECT id FROM messages WHERE state = 'failed'
           AND NOT EXISTS (SELECT 1 FROM dead_letters WHERE message = messages.id)
           AND NOT EXISTS (SELECT 1 FROM journal WHERE journal.message = messages.id
                           AND event IN ('job.discarded', 'job.replayed'))`),
    *blobs() {
      const rows = statements.get("SELECT id, size, blob_size, sha256 FROM messages").iterate();
      for (const row of rows) {
        const size = Number(row.blob_size);
        const fieldSize = size - Number(row.size);
        yield { id: String(row.id), size, fieldSize, sha256: String(row.sha256) };
      }
    },
    close: () => db.close(),
  };
}
