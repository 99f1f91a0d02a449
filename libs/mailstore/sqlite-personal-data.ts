import { basename } from "node:path";
import type { DatabaseSync, SQLInputValue, SQLOutputValue } from "node:sqlite";
import { setTimeout as sleep, setImmediate as turn } from "node:timers/promises";
import { manifestSchema, type Person, parsedMessageSchema, TemporaryFailure } from "@millrace/mail";
import { Occurrences } from "./occurrences.ts";
import type { Erasure, PersonalData, PersonalMessage, Progress, Redacted, Traces } from "./personal-data.ts";
import { messageTables, type Row, recordTables, rowsWith, type TextTable } from "./sqlite-blocks.ts";
import { Statements, transaction } from "./sqlite-connection.ts";
import { placeBits } from "./sqlite-index.ts";

/** Pages of the full-text index that one step of a merge writes: it holds the write lock for some 50 ms. */
const mergeStep = 500;
/** Milliseconds to wait for readers that still see the log's content. */
const checkpointWithin = 60_000;

const contents = messageTables.find(({ name }) => name === "contents") as TextTable;

/** Columns of a record, beside its leading key, that say which row it is. */
const restOfKey: Record<string, readonly string[]> = {
  journal: ["seq_ms", "seq_n"],
  deliveries: ["target"],
  dead_letters: [],
};
const counters: Record<string, keyof Redacted> = {
  journal: "journalEntries",
  deliveries: "deliveries",
  dead_letters: "deadLetters",
};

/** What the index in SQLite holds about a person. Reads in blocks, so that writers and checkpoints go on meanwhile. */
export class SqlitePersonalData implements PersonalData {
  private readonly db: DatabaseSync;
  private readonly path: string;
  private readonly statements: Statements;

  constructor(db: DatabaseSync, path: string) {
    this.db = db;
    this.path = path;
    this.statements = new Statements(db);
  }

  async *messages(person: Person, since: number, progress?: Progress): AsyncGenerator<PersonalMessage> {
    const start = since > 0 ? (BigInt(Math.floor(since)) << placeBits) - 1n : contents.start;
    const id = this.statements.get("SELECT id FROM messages WHERE place = ?");
    for await (const row of rowsWith(this.statements, contents, person.spellings, {
      start,
      ...(progress && { progress }),
    })) {
      const manifest = manifestSchema.parse(JSON.parse(String(row.manifest)));
      const parsed = parsedMessageSchema.parse(JSON.parse(String(row.parsed)));
      const concerned = person.isConcerned(manifest.envelope, parsed);
      const { subject, text, html, headers } = parsed;
      const texts = [subject, text, html, ...headers.flatMap(({ raw, value }) => [raw, value])];
      // Gone since: somebody else has removed it.
      if (!id.get(row.place as bigint) || !(concerned || texts.some(person.isMentioned))) continue;
      const others = manifest.envelope.recipients.filter((each) => each.toLowerCase() !== person.address);
      yield { id: manifest.id, concerned, otherRecipients: others.length };
    }
  }

  async redact(person: Person, progress?: Progress): Promise<Redacted> {
    const redacted: Redacted = { journalEntries: 0, deliveries: 0, deadLetters: 0 };
    for (const table of recordTables) {
      const keys = [table.key, ...(restOfKey[table.name] as readonly string[])];
      const update = this.statements.get(
        `UPDATE ${table.name} SET ${table.columns.map((column) => `${column} = ?`).join(", ")}
         WHERE ${keys.map((key) => `${key} = ?`).join(" AND ")}`,
      );
      const options = progress ? { progress } : {};
      for await (const row of rowsWith(this.statements, table, person.spellings, options)) {
        if (!mentions(table, row, person)) continue;
        const values = table.columns.map((column) => redactedColumn(column, row[column], person));
        const key = keys.map((column) => row[column] as SQLInputValue);
        transaction(this.db, this.path, () => update.run(...values, ...key));
        redacted[counters[table.name] as keyof Redacted]++;
      }
    }
    return redacted;
  }

  async purge(): Promise<void> {
    const changes = this.statements.get("SELECT total_changes() AS n");
    // A negative number begins a merge of all there is; further ones go on with it, until one has nothing to do.
    for (let pages = -mergeStep; ; pages = mergeStep) {
      const before = changes.get()?.n as bigint;
      transaction(this.db, this.path, () =>
        this.statements.get("INSERT INTO words (words, rank) VALUES ('merge', ?)").run(pages),
      );
      if ((changes.get()?.n as bigint) - before < 2n) break;
      await turn();
    }
    await this.checkpoint();
  }

  async rewrite(): Promise<void> {
    this.db.exec("VACUUM");
    await this.checkpoint();
  }

  async traces(person: Person, progress?: Progress): Promise<Traces> {
    const live = new Occurrences(person.spellings);
    let records = 0;
    const options = progress ? { progress } : {};
    for (const table of [...messageTables, ...recordTables]) {
      for await (const row of rowsWith(this.statements, table, person.spellings, options)) {
        for (const column of table.columns) {
          if (row[column] !== null) live.add(Buffer.from(String(row[column])));
        }
        if (recordTables.includes(table) && mentions(table, row, person)) records++;
      }
    }
    await this.checkpoint();
    const files: Traces["files"] = [];
    let leftovers = 0;
    for (const path of [this.path, `${this.path}-wal`]) {
      const found = new Occurrences(person.spellings);
      files.push({ name: basename(path), octets: await found.addFile(path) });
      for (const [index, count] of found.count.entries()) {
        // Messages that only mention the address stay. Once each in the file; the log may repeat their pages.
        const rows = live.count[index] ?? 0;
        if (path === this.path) leftovers += Math.max(0, count - rows);
        else if (rows === 0) leftovers += count;
      }
    }
    return { records, leftovers, files };
  }

  record({ at, by, messages }: Erasure): void {
    const insert = this.statements.get("INSERT INTO erasures (at, by, messages) VALUES (?, ?, ?)");
    transaction(this.db, this.path, () => insert.run(Date.parse(at), by, messages));
  }

  erasures(): Erasure[] {
    return this.statements
      .get("SELECT at, by, messages FROM erasures ORDER BY number DESC")
      .all()
      .map((row) => ({
        at: new Date(Number(row.at)).toISOString(),
        by: String(row.by),
        messages: Number(row.messages),
      }));
  }

  private async checkpoint(): Promise<void> {
    for (const deadline = Date.now() + checkpointWithin; ; ) {
      if (this.statements.get("PRAGMA wal_checkpoint(TRUNCATE)").get()?.busy === 0n) return;
      if (Date.now() > deadline) {
        throw new TemporaryFailure(
          `mail store ${this.path}: a reader has kept its write-ahead log from being emptied for ${checkpointWithin / 1_000} s; end what reads it (a backup?) and try again`,
          { code: "STORE_BUSY" },
        );
      }
      await sleep(200);
    }
  }
}

function mentions(table: TextTable, row: Row, person: Person): boolean {
  return table.columns.some((column) => row[column] !== null && person.isMentioned(String(row[column])));
}

const jsonColumns = new Set(["data", "recipients"]);

function redactedColumn(name: string, value: SQLOutputValue | undefined, person: Person): SQLInputValue {
  if (value === null || value === undefined) return null;
  const text = String(value);
  if (!jsonColumns.has(name)) return person.redacted(text);
  return JSON.stringify(person.redactedValue(JSON.parse(text)));
}
