import assert from "node:assert/strict";
import { test } from "node:test";
import { type MessageId, newMessageId } from "@millrace/mail";
import { encodeTime } from "ulid";
import type { StoreItem } from "../mail-store.ts";
import type { KeptMessage } from "../removal.ts";
import { journalWriter, type SuiteContext, storeItem } from "./fixtures.ts";

/** Taking messages out for good. */
export function removingCases(context: SuiteContext): void {
  const delivered = { target: "t", label: "t", recipients: ["bob@example.com"], attempt: 1 };
  const dead = { job: "deliver/t", worker: "deliver", target: "t", failure: { message: "no" } };

  test("a removed message is nowhere, and nothing else is touched", async () => {
    const store = context.store();
    const entry = journalWriter();
    const [gone, kept] = [
      storeItem({ parsed: { text: "both words" } }),
      storeItem({ parsed: { text: "both" } }),
    ];
    await store.put([gone, kept]);
    for (const { manifest } of [gone, kept]) {
      store.archive([
        entry(manifest.id, "message.received"),
        entry(manifest.id, "delivery.failed", { ...delivered, reply: "550 no" }),
        entry(manifest.id, "job.dead", dead),
      ]);
    }
    const removed = await store.remove([gone.manifest.id], "retention");
    assert.deepEqual(removed, {
      ...{ messages: 1, blobs: 1, octets: (gone.raw as Buffer).length },
      ...{ journalEntries: 3, deliveries: 1, deadLetters: 1 },
    });
    const { id } = gone.manifest;
    assert.equal(store.has(id), false);
    assert.deepEqual(
      [store.manifest(id), store.parsed(id), store.summary(id)],
      [undefined, undefined, undefined],
    );
    assert.deepEqual([store.journal(id), store.deliveries(id)], [[], []]);
    assert.equal(store.blobDefect(id, 0)?.includes("is missing"), true);
    assert.deepEqual(store.list({ search: "words" }), []);
    assert.deepEqual(
      store.list({ search: "both" }).map((each) => each.id),
      [kept.manifest.id],
    );
    assert.deepEqual(
      store.deadLetters({}, { limit: 9 }).map(({ message }) => message),
      [kept.manifest.id],
    );
    assert.equal(store.counts().failed, 1);
    assert.deepEqual(await store.read(kept.manifest.id), kept.raw);
    assert.equal(store.journal(kept.manifest.id).length, 3);
  });

  test("what was accepted is what there is and what was removed, however often it is removed", async () => {
    const store = context.store();
    const entry = journalWriter();
    const items = [storeItem(), storeItem(), storeItem()];
    await store.put(items);
    store.archive(items.map(({ manifest }) => entry(manifest.id, "message.received")));
    const ids = items.slice(0, 2).map(({ manifest }) => manifest.id);
    assert.equal((await store.remove([ids[0] as string, ids[0] as string], "retention")).messages, 1);
    assert.equal((await store.remove(ids, "erasure")).messages, 1);
    assert.equal((await store.remove(ids, "retention")).messages, 0);
    assert.deepEqual(await store.remove([], "retention"), {
      ...{ messages: 0, blobs: 0, octets: 0, journalEntries: 0, deliveries: 0, deadLetters: 0 },
    });
    await context.reopen();
    const snapshot = context.store().snapshot();
    assert.deepEqual([snapshot?.accepted, snapshot?.removed, snapshot?.counts.stored], [1, 2, 1]);
    assert.deepEqual([...(snapshot?.notStored() ?? [])], []);
    snapshot?.close();
  });

  test("what comes late about a removed message is not taken in: its body, its journal", async () => {
    const store = context.store();
    const entry = journalWriter();
    const [late, other] = [storeItem(), storeItem()];
    // In flight: the store has never had it.
    assert.equal((await store.remove([late.manifest.id], "erasure")).messages, 1);
    await store.put([late, other]);
    const entries = [
      entry(late.manifest.id, "message.received"),
      entry(other.manifest.id, "message.received"),
    ];
    store.archive(entries);
    assert.deepEqual([store.has(late.manifest.id), store.has(other.manifest.id)], [false, true]);
    assert.deepEqual(store.journal(late.manifest.id), []);
    assert.equal(store.cursor(), entries[1]?.seq);
    assert.match(store.blobDefect(late.manifest.id, 1) ?? "", /is missing/);
    const snapshot = store.snapshot();
    assert.deepEqual([snapshot?.accepted, snapshot?.removed], [1, 1]);
    snapshot?.close();
  });

  test("a message that is being put while it is removed is gone at the end, blob and all", async () => {
    const store = context.store();
    for (let round = 0; round < 20; round++) {
      const item = storeItem({ body: Buffer.alloc(50_000, "x") });
      await Promise.all([store.put([item]), store.remove([item.manifest.id], "erasure")]);
      assert.equal(store.has(item.manifest.id), false);
      assert.match(store.blobDefect(item.manifest.id, 1) ?? "", /is missing/, `round ${round}`);
    }
    assert.equal(await store.finishRemovals(), 0);
  });

  test("all messages can be walked, newest first, with what a decision about keeping them needs", async () => {
    const store = context.store();
    const entry = journalWriter();
    const day = 86_400_000;
    const items = [3, 2, 1].map((days) => storeItem({ id: idAt(Date.now() - days * day) }));
    const ids = items.map(({ manifest }) => manifest.id) as [string, string, string];
    await store.put(items);
    store.archive([
      entry(ids[0], "delivery.succeeded", delivered),
      entry(ids[1], "job.dead", dead),
      entry(ids[2], "delivery.deferred", delivered),
    ]);
    const all: KeptMessage[] = [];
    for (let page = store.walk({ limit: 2 }); page.length > 0; ) {
      all.push(...page);
      page = store.walk({ limit: 2, after: page.at(-1)?.position });
    }
    assert.deepEqual(
      all.map(({ id, ended, hasDeadLetters }) => [id, ended, hasDeadLetters]),
      [
        [ids[2], false, false],
        [ids[1], true, true],
        [ids[0], true, false],
      ],
    );
    assert.deepEqual(all[0]?.recipients, ["bob@example.com"]);
    assert.equal(all[0]?.octets, (items.at(-1) as StoreItem & { raw: Buffer }).raw.length);
    assert.deepEqual(
      store.walk({ limit: 9, until: Date.now() - 1.5 * day }).map(({ id }) => id),
      [ids[1], ids[0]],
    );
  });
}

/** An id as that time would have given it. */
function idAt(time: number): MessageId {
  return `${encodeTime(time)}${newMessageId().slice(10)}`.toLowerCase();
}
