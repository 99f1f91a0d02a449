import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { Readable } from "node:stream";
import { buffer } from "node:stream/consumers";
import { test } from "node:test";
import { newMessageId } from "@millrace/mail";
import type { StoreItem } from "../mail-store.ts";
import { NotStored, PartlyStored } from "../not-stored.ts";
import { journalWriter, type SuiteContext, storeItem } from "./fixtures.ts";

/** Putting messages in and reading them back. */
export function storingCases(context: SuiteContext): void {
  test("gives back what was put", async () => {
    const item = storeItem({ parsed: { subject: "Übergröße", defects: [{ code: "date-missing" }] } });
    const { id } = item.manifest;
    assert.equal(context.store().has(id), false);
    await context.store().put([item]);

    assert.equal(context.store().has(id), true);
    assert.deepEqual(context.store().manifest(id), item.manifest);
    assert.deepEqual(context.store().parsed(id), item.parsed);
    assert.deepEqual(await context.store().read(id), item.raw);
    assert.deepEqual(await buffer(context.store().raw(id)), item.raw);
    assert.deepEqual(context.store().summary(id), {
      id,
      receivedAt: new Date(item.manifest.receivedAt).toISOString(),
      from: "ann@sender.example",
      to: ["bob@example.com"],
      subject: "Übergröße",
      size: item.manifest.size,
      sha256: item.manifest.sha256,
      state: "stored",
      defects: ["date-missing"],
    });
  });

  test("keeps every octet: NUL, 8-bit, bare line ends, nothing at all", async () => {
    const bodies = [Buffer.from("a\0b\r\rc\nd\xff\xfe", "latin1"), Buffer.alloc(0), randomBytes(300_000)];
    const items = bodies.map((body) => storeItem({ body, parsed: { subject: "a\0b", text: "x\0y" } }));
    await context.store().put(items);
    for (const item of items) {
      assert.deepEqual(await context.store().read(item.manifest.id), item.raw);
      assert.equal(context.store().summary(item.manifest.id)?.subject, "a\0b");
    }
  });

  test("takes a large body as a stream", async () => {
    const item = storeItem({ body: randomBytes(3_000_000) });
    const raw = item.raw as Buffer;
    const pieces = Array.from({ length: 50 }, (_, index) =>
      raw.subarray(index * 65_000, (index + 1) * 65_000),
    );
    await context.store().put([{ ...item, raw: () => Readable.from(pieces) }]);
    assert.deepEqual(await buffer(context.store().raw(item.manifest.id)), raw);
  });

  test("leaves a message as it is when it comes again", async () => {
    const item = storeItem();
    const { id } = item.manifest;
    await context.store().put([item, item]);
    await Promise.all([context.store().put([item]), context.store().put([item])]);
    await context.store().put([{ ...item, parsed: { ...item.parsed, subject: "Another" } }]);
    assert.equal(context.store().summary(id)?.subject, "Hello");
    assert.equal(context.store().counts().stored, 1);
    assert.equal(context.store().list({ search: "Hello" }).length, 1);
    assert.equal(context.store().list({ search: "Another" }).length, 0);
  });

  test("stores the rest of a batch when one message cannot be", async () => {
    const [short, long, cut, broken, good] = [
      storeItem(),
      storeItem(),
      storeItem(),
      storeItem(),
      storeItem(),
    ];
    const failing = async function* () {
      yield Buffer.from("Received");
      throw new Error("the spool went away");
    };
    const batch: StoreItem[] = [
      { ...short, raw: (short.raw as Buffer).subarray(1) },
      { ...long, raw: () => Readable.from([long.raw, Buffer.from("more")]) },
      { ...cut, raw: () => Readable.from([(cut.raw as Buffer).subarray(1)]) },
      { ...broken, raw: () => Readable.from(failing()) },
      good,
    ];
    await assert.rejects(context.store().put(batch), (error) => {
      assert.ok(error instanceof PartlyStored);
      assert.deepEqual(
        [...error.failures.keys()].sort(),
        [short, long, cut, broken].map(({ manifest }) => manifest.id),
      );
      assert.match(
        String(error.failures.get(short.manifest.id)),
        /came with \d+ octets where its manifest says/,
      );
      assert.match(String(error.failures.get(broken.manifest.id)), /the spool went away/);
      return true;
    });
    assert.equal(context.store().has(good.manifest.id), true);
    assert.deepEqual(await context.store().read(good.manifest.id), good.raw);
    for (const { manifest } of [short, long, cut, broken])
      assert.equal(context.store().has(manifest.id), false);
    // And once the cause is gone, the same batch goes through.
    await context.store().put([short, long, cut, broken, good]);
    assert.equal(context.store().counts().stored, 5);
  });

  test("says what is not there, and how to go on", async () => {
    const id = newMessageId();
    assert.equal(context.store().manifest(id), undefined);
    assert.equal(context.store().parsed(id), undefined);
    assert.equal(context.store().summary(id), undefined);
    assert.deepEqual(context.store().deliveries(id), []);
    assert.deepEqual(context.store().journal(id), []);
    assert.throws(() => context.store().raw(id), NotStored);
    await assert.rejects(
      context.store().read(id),
      (error) =>
        error instanceof NotStored && error.message.includes(id) && error.message.includes("millrace trace"),
    );
  });

  test("is the same after it was closed and opened again", async () => {
    const items = Array.from({ length: 20 }, () => storeItem());
    const entry = journalWriter();
    await context.store().put(items);
    context.store().archive(items.map(({ manifest }) => entry(manifest.id, "message.stored")));
    const before = [context.store().list(), context.store().counts(), context.store().cursor()];
    await context.reopen();
    assert.deepEqual([context.store().list(), context.store().counts(), context.store().cursor()], before);
    assert.equal(context.store().list().length, 20);
  });

  test("is used by several at once", async () => {
    const other = await context.open();
    try {
      const mine = Array.from({ length: 40 }, () => storeItem());
      const theirs = Array.from({ length: 40 }, () => storeItem());
      const shared = storeItem();
      const writes: Promise<void>[] = [];
      for (let at = 0; at < 40; at += 10) {
        writes.push(context.store().put([...mine.slice(at, at + 10), shared]));
        writes.push(other.put([...theirs.slice(at, at + 10), shared]));
      }
      await Promise.all(writes);
      assert.equal(context.store().counts().stored, 81);
      assert.deepEqual(other.list({ limit: 100 }), context.store().list({ limit: 100 }));
    } finally {
      other.close();
    }
  });
}
