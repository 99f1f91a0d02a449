import { existsSync } from "node:fs";
import { DatabaseSync, type StatementSync } from "node:sqlite";
import { TemporaryFailure } from "@millrace/mail";
import { migrate, schemaVersion, versionOf } from "./schema.ts";

/** Milliseconds one process waits for another's transaction: some hundred times what a large one takes. */
const busyTimeout = 10_000;
/** Whole numbers come as bigint: the places of messages have more bits than a JavaScript number. */
const options = { timeout: busyTimeout, readBigInts: true };
/** Result codes of SQLite: another connection holds the lock. */
const busyCodes = new Set([5, 261, 517]);

/** Opens the index for writing; makes it when it is not there. */
export function openForWriting(path: string): DatabaseSync {
  const db = new DatabaseSync(path, { ...options });
  try {
    // Three parsed messages of the usual size share a page of 8 KB; one of 4 KB takes one and stays half empty.
    db.exec("PRAGMA page_size = 8192");
    useWal(db);
    // FULL: a transaction is on the disk when COMMIT returns, not only safe from a torn file.
    db.exec("PRAGMA synchronous = FULL");
    // A checkpoint every 32 MB: pages that many transactions touch are copied back less often.
    db.exec("PRAGMA wal_autocheckpoint = 4000; PRAGMA journal_size_limit = 67108864");
    db.exec("PRAGMA cache_size = -65536");
    // What was deleted is overwritten, by every writer: a row that only moved leaves its old octets behind otherwise,
    // and a person's mail must be gone from the file once it is erased. No slower, measured on inserts and deletions.
    db.exec("PRAGMA secure_delete = ON");
    expectKnownVersion(db, path);
    transaction(db, path, () => migrate(db));
    return db;
  } catch (error) {
    db.close();
    throw error;
  }
}

/** Opens the index for reading; undefined while no writer has made it. */
export function openForReading(path: string): DatabaseSync | undefined {
  if (!existsSync(path)) return undefined;
  const db = new DatabaseSync(path, { ...options, readOnly: true });
  try {
    db.exec("PRAGMA cache_size = -65536");
    const version = versionOf(db);
    if (version === schemaVersion) return db;
    expectKnownVersion(db, path);
    if (version > 0) {
      throw new Error(
        `mail store ${path} has version ${version}, this release reads ${schemaVersion}; start the store service once, it brings the file up to date`,
      );
    }
    // A writer is making it at this moment.
    db.close();
    return undefined;
  } catch (error) {
    if (db.isOpen) db.close();
    throw error;
  }
}

/**
 * Runs `work` in one transaction that holds the write lock from its start, so that what it reads stays true
 * until it has written. On the disk when it returns; undone when it throws.
 */
export function transaction<T>(db: DatabaseSync, path: string, work: () => T): T {
  try {
    db.exec("BEGIN IMMEDIATE");
    const result = work();
    db.exec("COMMIT");
    return result;
  } catch (error) {
    if (db.isOpen && db.isTransaction) db.exec("ROLLBACK");
    if (isBusy(error)) {
      throw new TemporaryFailure(
        `mail store ${path} was locked by another process for ${busyTimeout / 1_000} s`,
        { code: "STORE_BUSY", cause: error },
      );
    }
    throw error;
  }
}

/** Turning a new file to WAL needs it alone for a moment, and SQLite does not wait for that by itself. */
function useWal(db: DatabaseSync): void {
  const deadline = Date.now() + busyTimeout;
  const pause = new Int32Array(new SharedArrayBuffer(4));
  for (;;) {
    try {
      db.exec("PRAGMA journal_mode = WAL");
      return;
    } catch (error) {
      if (!isBusy(error) || Date.now() > deadline) throw error;
      Atomics.wait(pause, 0, 0, 5);
    }
  }
}

function expectKnownVersion(db: DatabaseSync, path: string): void {
  const version = versionOf(db);
  if (version <= schemaVersion) return;
  throw new Error(
    `mail store ${path} has version ${version}, this release knows up to ${schemaVersion}; install the release that wrote it, or a later one`,
  );
}

function isBusy(error: unknown): boolean {
  return error instanceof Error && "errcode" in error && busyCodes.has(Number(error.errcode));
}

/** Statements of one connection, each prepared once; its text is the key. */
export class Statements {
  private readonly db: DatabaseSync;
  private readonly prepared = new Map<string, StatementSync>();

  constructor(db: DatabaseSync) {
    this.db = db;
  }

  get(sql: string): StatementSync {
    let statement = this.prepared.get(sql);
    if (!statement) {
      statement = this.db.prepare(sql);
      this.prepared.set(sql, statement);
    }
    return statement;
  }
}
