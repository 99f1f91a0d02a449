import type { DatabaseSync, SQLOutputValue } from "node:sqlite";
import {
  type Manifest,
  type MessageId,
  type MessageState,
  manifestSchema,
  messageIdSchema,
  messageStateNames,
  type ParsedMessage,
  parsedMessageSchema,
} from "@millrace/mail";
import { decodeTime } from "ulid";
import { blobSize } from "./blob-draft.ts";
import { messageState } from "./delivery-projection.ts";
import type { DeliveryStatus, ListQuery, MessageSummary, StoreItem } from "./mail-store.ts";
import { type SearchableWords, searchableWords, searchQuery } from "./search-query.ts";
import { Statements } from "./sqlite-connection.ts";

type Row = Record<string, SQLOutputValue>;

/** Bits of a message's place below the milliseconds of its id. */
export const placeBits = 20n;
const defaultLimit = 50;

const summaryColumns =
  "m.place, m.id, m.received_at, m.sender, m.recipients, m.subject, m.size, m.sha256, m.state, m.defects";

/** The messages in SQLite: rows for lists and lookups, and the words they are found by. */
export class SqliteIndex {
  private readonly statements: Statements;

  constructor(db: DatabaseSync) {
    this.statements = new Statements(db);
  }

  /** Adds those messages that are not there yet. To be run in a transaction. */
  insert(items: readonly StoreItem[]): void {
    // In the order of their places: the full-text index writes a segment whenever it has to go back.
    const sorted = items.toSorted((a, b) => (a.manifest.id < b.manifest.id ? -1 : 1));
    const added: { place: bigint; words: SearchableWords }[] = [];
    for (const { manifest, parsed } of sorted) {
      const place = this.insertMessage(manifest, parsed);
      if (place === undefined) continue;
      this.statements
        .get("INSERT INTO contents VALUES (?, ?, ?)")
        .run(place, JSON.stringify(manifest), JSON.stringify(parsed));
      // Its parsing may have been a dead letter before, when nobody could know sender and subject.
      this.statements
        .get(
          "UPDATE dead_letters SET sender = ?, recipients = coalesce(recipients, ?), subject = ? WHERE message = ?",
        )
        .run(
          manifest.envelope.from,
          JSON.stringify(manifest.envelope.recipients),
          parsed.subject,
          manifest.id,
        );
      added.push({ place, words: searchableWords(manifest, parsed) });
    }
    // Behind all other statements: one with a trigger between two of these would make the full-text index write
    // a segment for every single message, and merging those takes longer than everything else together.
    const insertWords = this.statements.get(
      "INSERT INTO words (rowid, subject, addresses, text) VALUES (?, ?, ?, ?)",
    );
    for (const { place, words } of added) insertWords.run(place, words.subject, words.addresses, words.text);
  }

  /** @returns the new row's place, undefined when the message was there */
  private insertMessage(manifest: Manifest, parsed: ParsedMessage): bigint | undefined {
    const first = placeOf(manifest.id);
    // Entries of the journal may have come before the row.
    const targets = this.statements.get("SELECT state FROM deliveries WHERE message = ?").all(manifest.id);
    const row = this.statements
      .get(
        `INSERT INTO messages VALUES (
         coalesce((SELECT max(place) + 1 FROM messages WHERE place >= :first AND place < :end), :first),
         :id, :received, :sender, :recipients, :subject, :size, :blobSize, :sha256, :state, :defects
       ) ON CONFLICT (id) DO NOTHING RETURNING place`,
      )
      .get({
        first,
        end: first + (1n << placeBits),
        id: manifest.id,
        received: manifest.receivedAt,
        sender: manifest.envelope.from,
        recipients: JSON.stringify(manifest.envelope.recipients),
        subject: parsed.subject,
        size: manifest.size,
        blobSize: blobSize(manifest),
        sha256: manifest.sha256,
        state: messageState(targets.map((target) => target.state as DeliveryStatus["state"])),
        defects: JSON.stringify(parsed.defects.map((defect) => defect.code)),
      });
    return row?.place as bigint | undefined;
  }

  has(id: MessageId): boolean {
    return this.statements.get("SELECT 1 FROM messages WHERE id = ?").get(id) !== undefined;
  }

  manifest(id: MessageId): Manifest | undefined {
    const row = this.statements
      .get("SELECT manifest FROM contents WHERE place = (SELECT place FROM messages WHERE id = ?)")
      .get(id);
    return row && manifestSchema.parse(JSON.parse(String(row.manifest)));
  }

  parsed(id: MessageId): ParsedMessage | undefined {
    const row = this.statements
      .get("SELECT parsed FROM contents WHERE place = (SELECT place FROM messages WHERE id = ?)")
      .get(id);
    return row && parsedMessageSchema.parse(JSON.parse(String(row.parsed)));
  }

  summary(id: MessageId): MessageSummary | undefined {
    const row = this.statements.get(`SELECT ${summaryColumns} FROM messages m WHERE id = ?`).get(id);
    return row && summaryOf(row);
  }

  /** Octets the message's blob must have; undefined when there is no such message. */
  blobSize(id: MessageId): number | undefined {
    const row = this.statements.get("SELECT blob_size FROM messages WHERE id = ?").get(id);
    return row && Number(row.blob_size);
  }

  list({ limit = defaultLimit, before, state, search }: ListQuery = {}): MessageSummary[] {
    if (!Number.isInteger(limit) || limit < 1) {
      throw new RangeError(`limit is ${limit}; it must be a whole number from 1`);
    }
    const conditions: string[] = [];
    const parameters: (string | bigint)[] = [];
    let from = "messages m";
    let place = "m.place";
    if (search !== undefined && search.trim() !== "") {
      const query = searchQuery(search);
      if (query === undefined) return [];
      // CROSS keeps SQLite from walking the messages and asking for the words of each.
      from = "words CROSS JOIN messages m ON m.place = words.rowid";
      place = "words.rowid";
      conditions.push("words MATCH ?");
      parameters.push(query);
    }
    if (before !== undefined) {
      conditions.push(`${place} < ?`);
      parameters.push(placeOf(messageIdSchema.parse(before)) + (1n << placeBits));
    }
    if (state !== undefined) {
      conditions.push("m.state = ?");
      parameters.push(state);
    }
    const where = conditions.length === 0 ? "" : `WHERE ${conditions.join(" AND ")}`;
    const rows = this.statements
      .get(`SELECT ${summaryColumns} FROM ${from} ${where} ORDER BY ${place} DESC`)
      .iterate(...parameters);
    return newestFirst(rows, limit, before).map(summaryOf);
  }

  counts(): Record<MessageState, number> {
    const counts = Object.fromEntries(messageStateNames.map((state) => [state, 0])) as Record<
      MessageState,
      number
    >;
    for (const row of this.statements.get("SELECT state, messages FROM state_counts").all()) {
      counts[row.state as MessageState] = Number(row.messages);
    }
    return counts;
  }
}

/** The first place of the millisecond an id was made in. */
function placeOf(id: MessageId): bigint {
  return BigInt(decodeTime(id)) << placeBits;
}

/** The first `limit` rows by id. They come by millisecond; within one, in the order they were stored. */
function newestFirst(rows: Iterable<Row>, limit: number, before: MessageId | undefined): Row[] {
  const found: Row[] = [];
  let millisecond: bigint | undefined;
  for (const row of rows) {
    const own = (row.place as bigint) >> placeBits;
    if (found.length >= limit && own !== millisecond) break;
    millisecond = own;
    if (before === undefined || String(row.id) < before) found.push(row);
  }
  return found.sort((a, b) => (String(a.id) < String(b.id) ? 1 : -1)).slice(0, limit);
}

function summaryOf(row: Row): MessageSummary {
  return {
    id: String(row.id),
    receivedAt: new Date(Number(row.received_at)).toISOString(),
    from: String(row.sender),
    to: JSON.parse(String(row.recipients)),
    subject: String(row.subject),
    size: Number(row.size),
    sha256: String(row.sha256),
    state: row.state as MessageState,
    defects: JSON.parse(String(row.defects)),
  };
}
