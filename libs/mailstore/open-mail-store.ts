import { join } from "node:path";
import type { DatabaseSync } from "node:sqlite";
import type { Readable } from "node:stream";
import type { JournalEntry } from "@millrace/mail";
import { type Manifest, type MessageId, messageStateNames, type ParsedMessage } from "@millrace/mail";
import { BlobFiles } from "./blob-files.ts";
import type { DeadLetter, DeadLetterCount, DeadLetterPage, DeadLetterQuery } from "./dead-letter.ts";
import type { DeliveryStatus, ListQuery, MailStore, MessageSummary, StoreItem } from "./mail-store.ts";
import { NotStored, PartlyStored } from "./not-stored.ts";
import type { PersonalData } from "./personal-data.ts";
import { type KeptMessage, nothingRemoved, type RemovalReason, type Removed, type Walk } from "./removal.ts";
import type { MessageQuery, Selected } from "./selection.ts";
import { openForReading, openForWriting, transaction } from "./sqlite-connection.ts";
import { SqliteDeadLetters } from "./sqlite-dead-letters.ts";
import { SqliteIndex } from "./sqlite-index.ts";
import { SqliteJournal } from "./sqlite-journal.ts";
import { SqlitePersonalData } from "./sqlite-personal-data.ts";
import { SqliteRemoval } from "./sqlite-removal.ts";
import { SqliteSelection } from "./sqlite-selection.ts";
import { sqliteSnapshot } from "./sqlite-snapshot.ts";
import type { StoreSnapshot } from "./store-snapshot.ts";

export interface MailStoreOptions {
  /** Folder of the store: `index.sqlite` and `blobs/`. */
  directory: string;
  /** Only read. The store may not exist yet: it is empty then, and fills once a writer has made it. */
  readOnly?: boolean;
}

/** Opens the store in a folder: blobs as files, the index in SQLite. Any number of processes may do so at once. */
export function openMailStore(options: MailStoreOptions): MailStore {
  return new FileMailStore(options.directory, options.readOnly ?? false);
}

interface Connection {
  db: DatabaseSync;
  index: SqliteIndex;
  journal: SqliteJournal;
  deadLetters: SqliteDeadLetters;
  selection: SqliteSelection;
  removal: SqliteRemoval;
}

/** Blobs that are unlinked together. */
const unlinkedAtOnce = 500;

class FileMailStore implements MailStore {
  private readonly path: string;
  private readonly blobs: BlobFiles;
  private readonly readOnly: boolean;
  private connection: Connection | undefined;
  private closed = false;

  constructor(directory: string, readOnly: boolean) {
    this.path = join(directory, "index.sqlite");
    this.blobs = new BlobFiles(directory);
    this.readOnly = readOnly;
    if (readOnly) this.reader();
    else {
      this.blobs.prepare();
      this.connection = connectionOf(openForWriting(this.path));
    }
  }

  async put(items: readonly StoreItem[]): Promise<void> {
    const { db, index, removal } = this.writer();
    const isRemoved = (item: StoreItem) => removal.isRemoved(item.manifest.id);
    const once = [...new Map(items.map((item) => [item.manifest.id, item])).values()];
    const batch = once.filter((item) => !isRemoved(item));
    const failures = await this.blobs.put(batch);
    // Only now: a row whose blob a power cut took away would be a message lost after its 250.
    const durable = batch.filter((item) => !failures.has(item.manifest.id));
    if (durable.length > 0) {
      const tooLate = transaction(db, this.path, () => {
        index.insert(durable.filter((item) => !isRemoved(item)));
        const removed = durable.filter(isRemoved);
        for (const { manifest } of removed) removal.unlinkLater(manifest.id);
        return removed.length;
      });
      if (tooLate > 0) await this.finishRemovals();
    }
    if (failures.size > 0) throw new PartlyStored(failures, batch.length);
  }

  has(id: MessageId): boolean {
    return this.reader()?.index.has(id) ?? false;
  }

  manifest(id: MessageId): Manifest | undefined {
    return this.reader()?.index.manifest(id);
  }

  parsed(id: MessageId): ParsedMessage | undefined {
    return this.reader()?.index.parsed(id);
  }

  summary(id: MessageId): MessageSummary | undefined {
    return this.reader()?.index.summary(id);
  }

  raw(id: MessageId): Readable {
    return this.blobs.open(id, this.blobSize(id));
  }

  async read(id: MessageId): Promise<Buffer> {
    return this.blobs.read(id, this.blobSize(id));
  }

  list(query?: ListQuery): MessageSummary[] {
    return this.reader()?.index.list(query) ?? [];
  }

  counts() {
    return this.reader()?.index.counts() ?? emptyCounts();
  }

  deliveries(id: MessageId): DeliveryStatus[] {
    return this.reader()?.journal.deliveries(id) ?? [];
  }

  deadLetters(query: DeadLetterQuery, page: DeadLetterPage): DeadLetter[] {
    return this.reader()?.deadLetters.list(query, page) ?? [];
  }

  countDeadLetters(query: DeadLetterQuery): DeadLetterCount {
    return this.reader()?.deadLetters.count(query) ?? { total: 0, newest: 0, groups: [] };
  }

  select(query: MessageQuery, after: string | undefined, limit: number): Selected[] {
    return this.reader()?.selection.select(query, after, limit) ?? [];
  }

  countSelected(query: MessageQuery): number {
    return this.reader()?.selection.count(query) ?? 0;
  }

  snapshot(): StoreSnapshot | undefined {
    const db = openForReading(this.path);
    return db && sqliteSnapshot(db);
  }

  blobDefect(id: MessageId, size: number): string | undefined {
    return this.blobs.defect(id, size);
  }

  journal(id: MessageId): JournalEntry[] {
    return this.reader()?.journal.entries(id) ?? [];
  }

  archive(entries: readonly JournalEntry[]): void {
    const { db, journal } = this.writer();
    if (entries.length > 0) transaction(db, this.path, () => journal.archive(entries));
  }

  walk(walk: Walk): KeptMessage[] {
    return this.reader()?.removal.walk(walk) ?? [];
  }

  async remove(ids: readonly MessageId[], why: RemovalReason): Promise<Removed> {
    const { db, removal } = this.writer();
    if (ids.length === 0) return { ...nothingRemoved };
    // Rows first: a blob without a row is waste, which is noted; a row without its blob would look like a loss.
    const removed = transaction(db, this.path, () => removal.remove(ids, why, Date.now()));
    await this.finishRemovals();
    return removed;
  }

  async finishRemovals(): Promise<number> {
    const { db, removal } = this.writer();
    for (let finished = 0; ; ) {
      const blobs = removal.pendingBlobs(unlinkedAtOnce);
      await this.blobs.remove(blobs.map(({ id }) => id));
      transaction(db, this.path, () => removal.unlinked(blobs, Date.now()));
      finished += blobs.length;
      if (blobs.length < unlinkedAtOnce) return finished;
    }
  }

  personalData(): PersonalData {
    const connection = this.readOnly ? this.reader() : this.writer();
    if (!connection) throw new Error(`mail store ${this.path} has not been made yet`);
    return new SqlitePersonalData(connection.db, this.path);
  }

  cursor(): string {
    return this.reader()?.journal.cursor() ?? "0-0";
  }

  close(): void {
    this.closed = true;
    this.connection?.db.close();
    this.connection = undefined;
  }

  private blobSize(id: MessageId): number {
    const size = this.reader()?.index.blobSize(id);
    if (size !== undefined) return size;
    throw new NotStored(id, `${this.path} has no row of it; \`millrace trace ${id}\` tells where it is`);
  }

  private writer(): Connection {
    if (this.connection && !this.readOnly) return this.connection;
    throw new Error(`mail store ${this.path} is ${this.closed ? "closed" : "open for reading only"}`);
  }

  private reader(): Connection | undefined {
    if (this.closed) throw new Error(`mail store ${this.path} is closed`);
    if (!this.connection) {
      const db = openForReading(this.path);
      if (db) this.connection = connectionOf(db);
    }
    return this.connection;
  }
}

function connectionOf(db: DatabaseSync): Connection {
  const deadLetters = new SqliteDeadLetters(db);
  const removal = new SqliteRemoval(db);
  return {
    db,
    index: new SqliteIndex(db),
    journal: new SqliteJournal(db, deadLetters, removal),
    deadLetters,
    selection: new SqliteSelection(db),
    removal,
  };
}

function emptyCounts() {
  const counts = messageStateNames.map((state) => [state, 0] as const);
  return Object.fromEntries(counts) as ReturnType<MailStore["counts"]>;
}
