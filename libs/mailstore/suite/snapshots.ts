import assert from "node:assert/strict";
import { test } from "node:test";
import { newMessageId } from "@millrace/mail";
import type { StoreSnapshot } from "../store-snapshot.ts";
import { journalWriter, type SuiteContext, storeItem } from "./fixtures.ts";

/** What an audit looks at. */
export function snapshotCases(context: SuiteContext): void {
  const snapshot = (): StoreSnapshot => {
    const taken = context.store().snapshot();
    assert.ok(taken);
    return taken;
  };
  const delivered = { target: "t", label: "t", recipients: ["bob@example.com"], attempt: 1 };

  test("tells which accepted messages are not stored, which stored ones are not at an end or were never accepted", async () => {
    const entry = journalWriter();
    const [whole, halfway, foreign, missing] = [storeItem(), storeItem(), storeItem(), newMessageId()];
    await context.store().put([whole, halfway, foreign]);
    context
      .store()
      .archive([
        ...[whole.manifest.id, halfway.manifest.id, missing].map((id) => entry(id, "message.received")),
        entry(whole.manifest.id, "delivery.succeeded", delivered),
        entry(foreign.manifest.id, "delivery.succeeded", delivered),
      ]);
    const taken = snapshot();
    assert.deepEqual([taken.accepted, taken.deadLetters, taken.cursor], [3, 0, context.store().cursor()]);
    assert.deepEqual([taken.counts.delivered, taken.counts.stored], [2, 1]);
    assert.deepEqual([...taken.notStored()], [missing]);
    assert.deepEqual([...taken.unfinished()], [halfway.manifest.id]);
    assert.deepEqual([...taken.unaccepted()], [foreign.manifest.id]);
    assert.deepEqual([taken.hasArrived(missing), taken.hasArrived(foreign.manifest.id)], [true, false]);
    assert.deepEqual([taken.stateOf(whole.manifest.id), taken.stateOf(missing)], ["delivered", undefined]);
    taken.close();
  });

  test("a failure without a dead letter is one that nobody would hear of", async () => {
    const entry = journalWriter();
    const [silent, loud, discarded] = [storeItem(), storeItem(), storeItem()];
    const failed = { ...delivered, reply: "550 no" };
    const job = { target: "t", job: "deliver/t", worker: "deliver", failure: { message: "no" } };
    await context.store().put([silent, loud, discarded]);
    for (const { manifest } of [silent, loud, discarded])
      context.store().archive([entry(manifest.id, "delivery.failed", failed)]);
    for (const { manifest } of [loud, discarded])
      context.store().archive([entry(manifest.id, "job.dead", job)]);
    context.store().archive([entry(discarded.manifest.id, "job.discarded", job)]);
    const taken = snapshot();
    assert.deepEqual([...taken.failedSilently()], [silent.manifest.id]);
    assert.deepEqual([taken.counts.failed, taken.deadLetters], [3, 1]);
    taken.close();
  });

  test("stays as it was while others write", async () => {
    const entry = journalWriter();
    const item = storeItem();
    context.store().archive([entry(item.manifest.id, "message.received")]);
    const before = snapshot();
    await context.store().put([item, storeItem()]);
    context.store().archive([entry(newMessageId(), "message.received")]);
    assert.deepEqual([before.accepted, [...before.notStored()]], [1, [item.manifest.id]]);
    assert.equal(before.stateOf(item.manifest.id), undefined);
    before.close();
    const after = snapshot();
    assert.deepEqual([after.accepted, after.counts.stored], [2, 2]);
    after.close();
  });

  test("knows what size each blob must have, and what is wrong with one that has not", async () => {
    const item = storeItem();
    await context.store().put([item]);
    const taken = snapshot();
    const [blob] = [...taken.blobs()];
    taken.close();
    const size = item.manifest.receivedFieldSize + item.manifest.size;
    const { id, receivedFieldSize: fieldSize, sha256 } = item.manifest;
    assert.deepEqual(blob, { id, size, fieldSize, sha256 });
    assert.equal(context.store().blobDefect(item.manifest.id, size), undefined);
    assert.match(
      context.store().blobDefect(item.manifest.id, size + 1) ?? "",
      /has \d+ octets where \d+ were/,
    );
    assert.match(context.store().blobDefect(newMessageId(), size) ?? "", /is missing/);
  });
}
