import type { DatabaseSync } from "node:sqlite";
import { type MessageId, manifestSchema, parsedMessageSchema } from "@millrace/mail";
import { type KeptMessage, nothingRemoved, type RemovalReason, type Removed, type Walk } from "./removal.ts";
import { type SearchableWords, searchableWords } from "./search-query.ts";
import { Statements } from "./sqlite-connection.ts";
import { placeBits } from "./sqlite-index.ts";

/**
 * Milliseconds for which nothing about a removed message is taken in again. An erased message may have been in flight:
 * a worker that was frozen over it may still want to store it, or to record what it did.
 */
const refusedFor: Record<RemovalReason, number> = { retention: 3_600_000, erasure: 30 * 86_400_000 };

/** A blob that is to be unlinked, and how often that was asked for. */
export interface PendingBlob {
  id: MessageId;
  asked: number;
}

/** Taking messages out of the index in SQLite, and what is remembered of them. */
export class SqliteRemoval {
  private readonly statements: Statements;

  constructor(db: DatabaseSync) {
    this.statements = new Statements(db);
  }

  isRemoved(id: MessageId): boolean {
    return this.statements.get("SELECT 1 FROM removals WHERE message = ?").get(id) !== undefined;
  }

  /** Removes every row of the messages and asks for their blobs to be unlinked. To be run in a transaction. */
  remove(ids: readonly MessageId[], why: RemovalReason, now: number): Removed {
    const removed = { ...nothingRemoved };
    const words: { place: bigint; words: SearchableWords }[] = [];
    const deleted = (sql: string, id: MessageId) => Number(this.statements.get(sql).run(id).changes);
    for (const id of ids) {
      if (!this.isRemoved(id)) removed.messages++;
      this.unlinkLater(id, now + refusedFor[why]);
      const row = this.statements
        .get(
          "SELECT place, blob_size, manifest, parsed FROM messages JOIN contents USING (place) WHERE id = ?",
        )
        .get(id);
      if (row) {
        const place = row.place as bigint;
        const manifest = manifestSchema.parse(JSON.parse(String(row.manifest)));
        const parsed = parsedMessageSchema.parse(JSON.parse(String(row.parsed)));
        words.push({ place, words: searchableWords(manifest, parsed) });
        removed.blobs++;
        removed.octets += Number(row.blob_size);
        this.statements.get("DELETE FROM contents WHERE place = ?").run(place);
        this.statements.get("DELETE FROM messages WHERE place = ?").run(place);
      }
      removed.journalEntries += deleted("DELETE FROM journal WHERE message = ?", id);
      removed.deliveries += deleted("DELETE FROM deliveries WHERE message = ?", id);
      removed.deadLetters += deleted("DELETE FROM dead_letters WHERE message = ?", id);
    }
    this.statements
      .get("UPDATE tallies SET messages = messages + ? WHERE name = 'removed'")
      .run(removed.messages);
    // Behind all other statements, as with inserting: one with a trigger in between makes a segment of each.
    const deleteWords = this.statements.get(
      "INSERT INTO words (words, rowid, subject, addresses, text) VALUES ('delete', ?, ?, ?, ?)",
    );
    for (const { place, words: each } of words) {
      deleteWords.run(place, each.subject, each.addresses, each.text);
    }
    return removed;
  }

  /** Asks for a blob to be unlinked. To be run in the transaction that gives up its row, or refuses it one. */
  unlinkLater(id: MessageId, until = 0): void {
    this.statements
      .get(
        `INSERT INTO removals VALUES (?, ?, 1)
         ON CONFLICT DO UPDATE SET blob = blob + 1, until = max(until, excluded.until)`,
      )
      .run(id, until);
  }

  pendingBlobs(limit: number): PendingBlob[] {
    return this.statements
      .get("SELECT message, blob FROM removals WHERE blob > 0 LIMIT ?")
      .all(limit)
      .map((row) => ({ id: String(row.message), asked: Number(row.blob) }));
  }

  /** Records that blobs are gone, unless they were asked for once more since. To be run in a transaction. */
  unlinked(blobs: readonly PendingBlob[], now: number): void {
    for (const { id, asked } of blobs) {
      this.statements.get("UPDATE removals SET blob = 0 WHERE message = ? AND blob = ?").run(id, asked);
    }
    this.statements.get("DELETE FROM removals WHERE blob = 0 AND until < ?").run(now);
  }

  walk({ limit, after, until }: Walk): KeptMessage[] {
    const places = [
      ...(after === undefined ? [] : [BigInt(after)]),
      ...(until === undefined ? [] : [BigInt(Math.floor(until)) << placeBits]),
    ];
    const conditions = places.map(() => "place < ?").join(" AND ") || "true";
    return this.statements
      .get(
        `SELECT place, id, received_at, recipients, blob_size, state IN ('delivered', 'bounced', 'failed', 'quarantined', 'discarded') AS ended,
           EXISTS (SELECT 1 FROM dead_letters WHERE message = messages.id) AS dead
         FROM messages WHERE ${conditions} ORDER BY place DESC LIMIT ?`,
      )
      .all(...places, limit)
      .map((row) => ({
        id: String(row.id),
        position: String(row.place),
        receivedAt: Number(row.received_at),
        recipients: JSON.parse(String(row.recipients)),
        octets: Number(row.blob_size),
        ended: row.ended === 1n,
        hasDeadLetters: row.dead === 1n,
      }));
  }
}
