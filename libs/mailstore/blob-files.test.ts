import assert from "node:assert/strict";
import { readdirSync, statSync } from "node:fs";
import { mkdtemp, rm, truncate, unlink, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, test } from "node:test";
import { newMessageId } from "@millrace/mail";
import { encodeTime } from "ulid";
import { blobPath } from "./blob-files.ts";
import { NotStored } from "./not-stored.ts";
import { openMailStore } from "./open-mail-store.ts";
import { storeItem } from "./suite/fixtures.ts";

describe("blob files", () => {
  let directory: string;
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), "millrace-store-"));
  });
  afterEach(() => rm(directory, { recursive: true, force: true }));

  test("a blob's place follows from the id alone", () => {
    const id = `${encodeTime(Date.UTC(2026, 6, 30, 15, 42, 7)).toLowerCase()}0123456789abcdef`;
    assert.equal(blobPath(id), `blobs/2026-07-30/1542/${id}.eml`);
    for (const nonsense of ["../../../etc/passwd", "", id.toUpperCase(), `${id}/`]) {
      assert.throws(() => blobPath(nonsense), /not a message id/);
    }
  });

  test("a blob that is missing or short is an error that names id, path and cure; putting it again mends it", async () => {
    const store = openMailStore({ directory });
    const item = storeItem();
    const { id } = item.manifest;
    const path = join(directory, blobPath(id));
    const expectNotStored = async (reason: RegExp) => {
      const named = (error: unknown) => {
        assert.ok(error instanceof NotStored);
        assert.ok(error.message.includes(id) && error.message.includes(path), error.message);
        assert.match(error.message, reason);
        assert.match(error.message, /restore it from a backup/);
        return true;
      };
      assert.throws(() => store.raw(id), named);
      await assert.rejects(store.read(id), named);
    };
    await store.put([item]);
    await truncate(path, 10);
    await expectNotStored(/has 10 octets where \d+ were written/);
    await unlink(path);
    await expectNotStored(/is missing/);
    await store.put([item]);
    assert.deepEqual(await store.read(id), item.raw);
    store.close();
  });

  test("a torn blob without a row is replaced, a whole one is kept", async () => {
    const store = openMailStore({ directory });
    const [torn, whole] = [storeItem(), storeItem()];
    await store.put([torn, whole]);
    store.close();
    // As after a crash between blob and row, one of the files not whole.
    for (const name of ["index.sqlite", "index.sqlite-wal", "index.sqlite-shm"]) {
      await rm(join(directory, name), { force: true });
    }
    await truncate(join(directory, blobPath(torn.manifest.id)), 3);
    await utimes(join(directory, blobPath(whole.manifest.id)), 1_000, 1_000);
    const again = openMailStore({ directory });
    assert.equal(again.has(torn.manifest.id), false);
    await again.put([torn, whole]);
    assert.deepEqual(await again.read(torn.manifest.id), torn.raw);
    assert.deepEqual(await again.read(whole.manifest.id), whole.raw);
    assert.equal(statSync(join(directory, blobPath(whole.manifest.id))).mtimeMs, 1_000_000);
    again.close();
  });

  test("a folder that was removed under a running store is made again", async () => {
    const store = openMailStore({ directory });
    const now = Date.now();
    const [first, second] = [storeItem({ id: newMessageId(now) }), storeItem({ id: newMessageId(now) })];
    await store.put([first]);
    await rm(join(directory, "blobs", blobPath(first.manifest.id).split("/")[1] as string), {
      recursive: true,
    });
    await assert.rejects(store.put([second]), /ENOENT/);
    await store.put([second]);
    assert.deepEqual(await store.read(second.manifest.id), second.raw);
    store.close();
  });

  test("what a writer left half written is gone after an hour, and nothing is left of one that failed", async () => {
    openMailStore({ directory }).close();
    const temporary = join(directory, "blobs", "tmp");
    await writeFile(join(temporary, "old"), "half");
    await writeFile(join(temporary, "young"), "half");
    const hours = (n: number) => new Date(Date.now() - n * 3_600_000);
    await utimes(join(temporary, "old"), hours(2), hours(2));
    await utimes(join(temporary, "young"), hours(0.5), hours(0.5));
    const store = openMailStore({ directory });
    const item = storeItem();
    const failing = () => {
      throw new Error("no stream");
    };
    await assert.rejects(store.put([{ ...item, raw: failing }, storeItem()]), /no stream/);
    assert.deepEqual(readdirSync(temporary), ["young"]);
    store.close();
  });
});
