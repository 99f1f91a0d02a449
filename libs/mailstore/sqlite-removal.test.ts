import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { DatabaseSync } from "node:sqlite";
import { afterEach, beforeEach, describe, test } from "node:test";
import { personOf } from "@millrace/mail";
import { encodeTime } from "ulid";
import { blobPath } from "./blob-files.ts";
import { openMailStore } from "./open-mail-store.ts";
import { SqliteRemoval } from "./sqlite-removal.ts";
import { journalWriter, storeItem } from "./suite/fixtures.ts";

describe("files and SQLite: what was removed", () => {
  let directory: string;
  const index = () => join(directory, "index.sqlite");
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), "millrace-removal-"));
  });
  afterEach(() => rm(directory, { recursive: true, force: true }));

  const zora = personOf("zorazimtstern@example.com");
  const ofZora = () =>
    storeItem({
      from: zora.address,
      parsed: { subject: "quarkstrudel", text: `${"a word or two ".repeat(200)} quarkstrudel` },
    });
  const stands = (text: string) =>
    ["", "-wal"].some((end) => existsSync(index() + end) && readFileSync(index() + end).includes(text));

  test("leaves not one octet in the index's files, words included, while other connections have them open", async () => {
    const store = openMailStore({ directory });
    const reader = openMailStore({ directory, readOnly: true });
    const entry = journalWriter();
    const mine = Array.from({ length: 10 }, ofZora);
    for (const item of mine) {
      await store.put([...Array.from({ length: 30 }, () => storeItem()), item]);
      const delivery = { target: "t", label: "t", recipients: [zora.address], attempt: 1 };
      store.archive([
        entry(item.manifest.id, "message.received", { from: zora.address }),
        // Its row moves: what it leaves behind must be overwritten, too.
        entry(item.manifest.id, "delivery.deferred", { ...delivery, reply: "try again later, please" }),
        entry(item.manifest.id, "delivery.succeeded", { ...delivery, reply: "ok" }),
      ]);
    }
    assert.equal(reader.list({ search: "quarkstrudel" }).length, 10);
    assert.ok(stands(zora.address) && stands("quarkstrudel"));
    // Those that retention has removed earlier count as well.
    const ids = mine.map(({ manifest }) => manifest.id);
    await store.remove(ids.slice(0, 5), "retention");
    await store.remove(ids.slice(5), "erasure");
    await store.personalData().purge();
    assert.deepEqual((await store.personalData().traces(zora)).leftovers, 0);
    for (const text of [zora.address, "zorazimt", "zimtstern", "quarkstrudel", "strudel"]) {
      assert.ok(!stands(text), text);
    }
    assert.equal(statSync(`${index()}-wal`).size, 0);
    assert.equal(reader.counts().stored, 300);
    assert.equal(reader.list({ search: "hello", limit: 500 }).length, 300);
    for (const each of [store, reader]) each.close();
    const db = new DatabaseSync(index());
    assert.equal(db.prepare("PRAGMA integrity_check").get()?.integrity_check, "ok");
    db.exec("INSERT INTO words (words) VALUES ('integrity-check')");
    db.close();
  });

  test("what an earlier release has left behind in the file is found, and gone once the file is written anew", async () => {
    openMailStore({ directory }).close();
    const old = new DatabaseSync(index());
    old.exec("PRAGMA secure_delete = OFF");
    old.prepare("INSERT INTO meta VALUES ('x', ?)").run(zora.address);
    old.exec("DELETE FROM meta WHERE key = 'x'");
    old.close();
    const store = openMailStore({ directory });
    assert.equal((await store.personalData().traces(zora)).leftovers, 1);
    await store.personalData().rewrite();
    assert.equal((await store.personalData().traces(zora)).leftovers, 0);
    assert.ok(!stands(zora.address));
    store.close();
  });

  test("a message that mentions the address stays, and is not taken for a leftover", async () => {
    const store = openMailStore({ directory });
    const mentions = storeItem({ parsed: { text: `${zora.address} and ${zora.address.toUpperCase()}` } });
    await store.put([mentions, ofZora()]);
    const traces = await store.personalData().traces(zora);
    assert.deepEqual([traces.records, traces.leftovers], [0, 0]);
    store.close();
  });

  test("a process killed while it removes leaves no row without its blob, and the next one finishes its blobs", async () => {
    for (let round = 0; round < 5; round++) {
      const script = join(import.meta.dirname, "suite", "removing-process.ts");
      const child = spawn(process.execPath, [script, directory], { stdio: ["ignore", "pipe", "inherit"] });
      const lines = createInterface({ input: child.stdout });
      for (let batch = 0; batch <= round + 1; batch++) await once(lines, "line");
      child.kill("SIGKILL");
      await once(child, "exit");
    }
    const store = openMailStore({ directory });
    await store.finishRemovals();
    const there = store.list({ limit: 10_000 }).map(({ id }) => id);
    for (const id of there) await store.read(id);
    const db = new DatabaseSync(index());
    const removed = new Set(
      db
        .prepare("SELECT message FROM removals")
        .all()
        .map((row) => String(row.message)),
    );
    db.close();
    store.close();
    const blobs = readdirSync(join(directory, "blobs"), { recursive: true, encoding: "utf8" })
      .filter((name) => name.endsWith(".eml"))
      .map((name) => name.slice(-30, -4));
    assert.deepEqual(
      blobs.filter((id) => removed.has(id)),
      [],
    );
    assert.ok(removed.size > 0);
  });

  test("a crash between rows and blob: the blob is unlinked later, and until it is asked for no more", async () => {
    const store = openMailStore({ directory });
    const item = storeItem();
    await store.put([item]);
    const path = join(directory, blobPath(item.manifest.id));
    const db = new DatabaseSync(index());
    db.prepare("INSERT INTO removals VALUES (?, 0, 1)").run(item.manifest.id);
    assert.ok(existsSync(path));
    assert.equal(await store.finishRemovals(), 1);
    assert.ok(!existsSync(path));
    assert.equal(db.prepare("SELECT count(*) AS n FROM removals").get()?.n, 0);
    // Asked for again between being unlinked and being recorded as such: not forgotten.
    const removal = new SqliteRemoval(db);
    removal.unlinkLater(item.manifest.id);
    const pending = removal.pendingBlobs(9);
    removal.unlinkLater(item.manifest.id);
    removal.unlinked(pending, Date.now());
    assert.deepEqual(removal.pendingBlobs(9), [{ id: item.manifest.id, asked: 2 }]);
    db.close();
    store.close();
  });

  test("folders that old mail leaves empty go with it, those of today stay", async () => {
    const store = openMailStore({ directory });
    const today = storeItem();
    const old = storeItem({
      id: `${encodeTime(Date.UTC(2024, 1, 3))}${today.manifest.id.slice(10)}`.toLowerCase(),
    });
    await store.put([today, old]);
    await store.remove([today.manifest.id, old.manifest.id], "retention");
    assert.ok(!existsSync(join(directory, "blobs/2024-02-03")));
    assert.ok(existsSync(join(directory, blobPath(today.manifest.id), "..")));
    store.close();
  });
});
