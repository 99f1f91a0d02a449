import assert from "node:assert/strict";
import { test } from "node:test";
import type { JournalEntry } from "@millrace/mail";
import { newMessageId } from "@millrace/mail";
import { journalWriter, type SuiteContext } from "./fixtures.ts";

/** The journal for good. */
export function archivingCases(context: SuiteContext): void {
  test("takes every entry over exactly once, in order", async () => {
    const id = newMessageId();
    const entry = journalWriter();
    const entries = Array.from({ length: 25 }, (_, index) => entry(id, "step", { index }));
    assert.equal(context.store().cursor(), "0-0");
    context.store().archive(entries.slice(0, 12));
    assert.equal(context.store().cursor(), "1785000000000-12");
    // Again, overlapping, upside down and twice over.
    context.store().archive([...entries, ...entries].reverse());
    context.store().archive(entries.slice(3, 9));
    context.store().archive([]);
    assert.equal(context.store().cursor(), "1785000000000-25");
    assert.deepEqual(context.store().journal(id), entries);
    assert.deepEqual(context.store().journal(newMessageId()), []);
  });

  test("keeps an entry without attempt and time as it is", async () => {
    const id = newMessageId();
    const entry: JournalEntry = {
      seq: "1785000000000-0",
      at: 5,
      message: id,
      event: "message.received",
      worker: "edge",
      data: { nested: { list: [1, "ü\0"] } },
    };
    context.store().archive([entry]);
    assert.deepEqual(context.store().journal(id), [entry]);
  });

  test("leaves everything as it was when one entry cannot be kept", async () => {
    const id = newMessageId();
    const entry = journalWriter();
    const good = entry(id, "step");
    const circular: Record<string, unknown> = {};
    circular.self = circular;
    assert.throws(() => context.store().archive([good, entry(id, "step", circular)]), /circular/);
    assert.equal(context.store().cursor(), "0-0");
    assert.deepEqual(context.store().journal(id), []);
    context.store().archive([good]);
    assert.deepEqual(context.store().journal(id), [good]);
  });
}
