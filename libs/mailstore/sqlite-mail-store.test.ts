import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { afterEach, beforeEach, describe, test } from "node:test";
import { testMailStore } from "./mail-store-suite.ts";
import { NotStored } from "./not-stored.ts";
import { openMailStore } from "./open-mail-store.ts";
import { migrate, schemaVersion } from "./schema.ts";
import { journalWriter, storeItem } from "./suite/fixtures.ts";

testMailStore("files and SQLite", async () => {
  const directory = await mkdtemp(join(tmpdir(), "millrace-store-"));
  return {
    open: async () => openMailStore({ directory }),
    end: () => rm(directory, { recursive: true, force: true }),
  };
});

describe("files and SQLite: the index", () => {
  let directory: string;
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), "millrace-store-"));
  });
  afterEach(() => rm(directory, { recursive: true, force: true }));

  test("a reader of a store that does not exist finds nothing, makes nothing, and sees it once it is there", async () => {
    const place = join(directory, "later");
    const reader = openMailStore({ directory: place, readOnly: true });
    const item = storeItem();
    const { id } = item.manifest;
    assert.deepEqual(reader.list(), []);
    assert.equal(reader.counts().stored, 0);
    assert.equal(reader.cursor(), "0-0");
    assert.equal(reader.has(id), false);
    assert.throws(() => reader.raw(id), NotStored);
    assert.equal(existsSync(place), false);

    const writer = openMailStore({ directory: place });
    await writer.put([item]);
    assert.deepEqual(await reader.read(id), item.raw);
    await assert.rejects(reader.put([item]), /is open for reading only/);
    assert.throws(() => reader.archive([]), /is open for reading only/);
    writer.close();
    assert.equal(reader.list().length, 1);
    reader.close();
    assert.throws(() => reader.list(), /is closed/);
    // And with no writer about.
    const late = openMailStore({ directory: place, readOnly: true });
    assert.equal(late.list().length, 1);
    late.close();
  });

  test("a store of a later release is refused, by readers too", () => {
    openMailStore({ directory }).close();
    const db = new DatabaseSync(join(directory, "index.sqlite"));
    db.exec("PRAGMA user_version = 99");
    db.close();
    for (const readOnly of [false, true]) {
      assert.throws(
        () => openMailStore({ directory, readOnly }),
        new RegExp(`has version 99, this release knows up to ${schemaVersion}`),
      );
    }
  });

  test("a store of an earlier release is brought up to date, dead letters and all", async () => {
    const path = join(directory, "index.sqlite");
    const old = new DatabaseSync(path);
    migrate(old, 1);
    old.exec(
      "INSERT INTO dead_letters (number, message, worker, job, at, class, error, permanent) VALUES (7, 'm', 'w', 'j', 1, 'Error', 'no', 0)",
    );
    old.close();
    assert.throws(() => openMailStore({ directory, readOnly: true }), /has version 1, this release reads/);
    const store = openMailStore({ directory });
    assert.deepEqual(
      store.deadLetters({}, { limit: 9 }).map(({ number, job }) => [number, job]),
      [[7, "j"]],
    );
    store.close();
  });

  test("a reading does not keep the write-ahead log from being written back", async () => {
    const store = openMailStore({ directory });
    await store.put(Array.from({ length: 10 }, () => storeItem()));
    store.list({ limit: 1 });
    store.list({ limit: 1, search: "hello" });
    const db = new DatabaseSync(join(directory, "index.sqlite"));
    const { busy } = db.prepare("PRAGMA wal_checkpoint(TRUNCATE)").get() ?? {};
    db.close();
    store.close();
    assert.equal(busy, 0);
  });

  test("dead letters have a row of their own, also of messages the store does not have yet", async () => {
    const store = openMailStore({ directory });
    const db = new DatabaseSync(join(directory, "index.sqlite"));
    const rows = () =>
      db
        .prepare("SELECT * FROM dead_letters ORDER BY job")
        .all()
        .map((row) => ({ ...row }));
    const entry = journalWriter();
    const unparsed = storeItem({ parsed: { subject: "Hard to read" } });
    const stored = storeItem({ parsed: { subject: "Plain" } });
    await store.put([stored]);
    const failure = {
      class: "PermanentFailure",
      message: "no",
      permanent: true,
      code: "550",
      status: "5.1.1",
      reply: "550 no",
    };
    const delivery = { target: "smtp-1", label: "smtp:a", recipients: ["x@example.com"] };
    store.archive([
      entry(unparsed.manifest.id, "job.dead", {
        job: "a",
        worker: "parse",
        failure: { class: "Error", message: "oops", permanent: false },
      }),
      entry(stored.manifest.id, "job.dead", { job: "b", worker: "deliver", ...delivery, failure }),
      entry(stored.manifest.id, "job.dead", { job: "c", worker: "crm" }),
      entry(stored.manifest.id, "job.dead", { job: "c", worker: "crm" }),
    ]);
    const [first, second, third, ...more] = rows();
    assert.deepEqual(more, []);
    assert.deepEqual(
      [first?.message, first?.worker, first?.error, first?.subject],
      [unparsed.manifest.id, "parse", "oops", null],
    );
    assert.deepEqual(
      [
        second?.target,
        second?.label,
        second?.recipients,
        second?.code,
        second?.class,
        second?.reply,
        second?.permanent,
      ],
      ["smtp-1", "smtp:a", '["x@example.com"]', "550", "PermanentFailure", "550 no", 1],
    );
    assert.deepEqual(
      [second?.subject, second?.sender, second?.at],
      ["Plain", "ann@sender.example", 1_785_000_000_002],
    );
    assert.deepEqual([third?.error, third?.recipients], ["no reason was recorded", '["bob@example.com"]']);

    await store.put([unparsed]);
    assert.deepEqual([rows()[0]?.subject, rows()[0]?.recipients], ["Hard to read", '["bob@example.com"]']);
    store.archive([entry(unparsed.manifest.id, "job.replayed", { job: "a", worker: "parse" })]);
    assert.deepEqual(
      rows().map(({ job }) => job),
      ["b", "c"],
    );
    db.close();
    store.close();
  });
});
