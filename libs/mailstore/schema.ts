import type { DatabaseSync } from "node:sqlite";

/**
 * Schema of the index, one step per version. A step that has been released is never changed: a change is a
 * step of its own at the end. `user_version` says how many a file has been through.
 */
const migrations: readonly string[] = [
  `
  -- What lists show: small rows, since each is written again when its state moves.
  -- place: milliseconds of the id << 20, plus the order within that millisecond. Newest first without a sort,
  -- in the full-text index too, which knows numbers only.
  CREATE TABLE messages (
    place INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    received_at INTEGER NOT NULL,
    sender TEXT NOT NULL,
    recipients TEXT NOT NULL,
    subject TEXT NOT NULL,
    size INTEGER NOT NULL,
    blob_size INTEGER NOT NULL,
    sha256 TEXT NOT NULL,
    state TEXT NOT NULL,
    defects TEXT NOT NULL
  ) STRICT;
  CREATE INDEX messages_by_state ON messages (state, place);

  -- The large columns, written once.
  CREATE TABLE contents (
    place INTEGER PRIMARY KEY,
    manifest TEXT NOT NULL,
    parsed TEXT NOT NULL
  ) STRICT;

  CREATE VIRTUAL TABLE words USING fts5 (
    subject, addresses, text,
    content = '', columnsize = 0, tokenize = 'unicode61 remove_diacritics 2'
  );
  -- Merging more segments at once, and so less often, takes a quarter off the indexing.
  INSERT INTO words (words, rank) VALUES ('automerge', 8);

  CREATE TABLE state_counts (state TEXT PRIMARY KEY, messages INTEGER NOT NULL) STRICT, WITHOUT ROWID;
  CREATE TRIGGER messages_counted AFTER INSERT ON messages BEGIN
    INSERT INTO state_counts VALUES (new.state, 1) ON CONFLICT DO UPDATE SET messages = messages + 1;
  END;
  CREATE TRIGGER messages_uncounted AFTER DELETE ON messages BEGIN
    UPDATE state_counts SET messages = messages - 1 WHERE state = old.state;
  END;
  CREATE TRIGGER messages_recounted AFTER UPDATE OF state ON messages WHEN old.state <> new.state BEGIN
    UPDATE state_counts SET messages = messages - 1 WHERE state = old.state;
    INSERT INTO state_counts VALUES (new.state, 1) ON CONFLICT DO UPDATE SET messages = messages + 1;
  END;

  -- recipients: [[address, state], ...]; state: of the target as a whole.
  CREATE TABLE deliveries (
    message TEXT NOT NULL,
    target TEXT NOT NULL,
    label TEXT NOT NULL,
    recipients TEXT NOT NULL,
    state TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    last_at INTEGER,
    last_reply TEXT,
    PRIMARY KEY (message, target)
  ) STRICT, WITHOUT ROWID;

  -- An entry's seq is "<seq_ms>-<seq_n>": two numbers, since text would put 10 before 9.
  CREATE TABLE journal (
    message TEXT NOT NULL,
    seq_ms INTEGER NOT NULL,
    seq_n INTEGER NOT NULL,
    at INTEGER NOT NULL,
    event TEXT NOT NULL,
    worker TEXT NOT NULL,
    attempt INTEGER,
    ms REAL,
    data TEXT NOT NULL,
    PRIMARY KEY (message, seq_ms, seq_n)
  ) STRICT, WITHOUT ROWID;

  -- Jobs that ended badly and were not replayed since. Sender, recipients and subject are copies, so that half a
  -- million rows can be filtered without looking at messages.
  CREATE TABLE dead_letters (
    number INTEGER PRIMARY KEY,
    message TEXT NOT NULL,
    worker TEXT NOT NULL,
    job TEXT NOT NULL,
    at INTEGER NOT NULL,
    attempts INTEGER,
    target TEXT,
    label TEXT,
    class TEXT NOT NULL,
    code TEXT,
    error TEXT NOT NULL,
    permanent INTEGER NOT NULL,
    status TEXT,
    reply TEXT,
    sender TEXT,
    recipients TEXT,
    subject TEXT,
    UNIQUE (message, worker, job)
  ) STRICT;
  CREATE INDEX dead_letters_by_time ON dead_letters (at);
  CREATE INDEX dead_letters_by_worker ON dead_letters (worker, at);

  CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
  INSERT INTO meta VALUES ('cursor', '0-0');
  `,
  `
  -- A dead letter's number is never given again: who discards number 7 must not hit another one.
  ALTER TABLE dead_letters RENAME TO numbered_dead_letters;
  DROP INDEX dead_letters_by_time;
  DROP INDEX dead_letters_by_worker;
  CREATE TABLE dead_letters (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    message TEXT NOT NULL,
    worker TEXT NOT NULL,
    job TEXT NOT NULL,
    at INTEGER NOT NULL,
    attempts INTEGER,
    target TEXT,
    label TEXT,
    class TEXT NOT NULL,
    code TEXT,
    error TEXT NOT NULL,
    permanent INTEGER NOT NULL,
    status TEXT,
    reply TEXT,
    sender TEXT,
    recipients TEXT,
    subject TEXT,
    UNIQUE (message, worker, job)
  ) STRICT;
  INSERT INTO dead_letters SELECT * FROM numbered_dead_letters ORDER BY number;
  DROP TABLE numbered_dead_letters;
  CREATE INDEX dead_letters_by_time ON dead_letters (at);
  CREATE INDEX dead_letters_by_worker ON dead_letters (worker, at);

  -- The messages that were accepted, for the audit: each one's first entry in the journal.
  CREATE INDEX arrivals ON journal (message) WHERE event = 'message.received';
  `,
  `
  -- Messages that were removed for good. blob: how often its file has been asked to be unlinked since it last was, so
  -- that a crash leaves none; until: the millisecond up to which nothing about it is taken in again.
  CREATE TABLE removals (
    message TEXT PRIMARY KEY,
    until INTEGER NOT NULL,
    blob INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX removals_to_unlink ON removals (message) WHERE blob > 0;
  CREATE INDEX removals_by_end ON removals (until) WHERE blob = 0;

  -- What can be counted no more: their entries left the journal with the messages.
  CREATE TABLE tallies (name TEXT PRIMARY KEY, messages INTEGER NOT NULL) STRICT, WITHOUT ROWID;
  INSERT INTO tallies VALUES ('removed', 0);

  -- That a person's mail was erased, when and by whom; whose it was, nowhere.
  CREATE TABLE erasures (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    at INTEGER NOT NULL,
    by TEXT NOT NULL,
    messages INTEGER NOT NULL
  ) STRICT;
  `,
];

/** Version of the schema this code works with. */
export const schemaVersion = migrations.length;

export function versionOf(db: DatabaseSync): number {
  return Number(db.prepare("PRAGMA user_version").get()?.user_version);
}

/** Brings a file up to a version. To be run inside one transaction that holds the write lock. */
export function migrate(db: DatabaseSync, to = schemaVersion): void {
  for (let version = versionOf(db); version < to; version++) {
    db.exec(migrations[version] as string);
    db.exec(`PRAGMA user_version = ${version + 1}`);
  }
}
