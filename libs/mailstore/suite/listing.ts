import assert from "node:assert/strict";
import { test } from "node:test";
import { type MessageId, newMessageId } from "@millrace/mail";
import type { MailStore } from "../mail-store.ts";
import { journalWriter, type SuiteContext, storeItem } from "./fixtures.ts";

/** Lists, pages and counts. */
export function listingCases(context: SuiteContext): void {
  test("newest first, page by page, also for ids of one millisecond stored in any order", async () => {
    const now = Date.now();
    const ids = [0, 1, 2, 3, 4, 5, 6, 7, 8].map((n) => newMessageId(now + Math.floor(n / 4)));
    for (const n of [8, 1, 5, 3, 0, 7, 2, 6, 4])
      await context.store().put([storeItem({ id: ids[n] as MessageId })]);
    const newest = ids.toReversed();

    for (const search of [undefined, "hello"]) {
      const seen: MessageId[] = [];
      for (let before: MessageId | undefined; ; before = seen.at(-1)) {
        const page = context
          .store()
          .list({ limit: 2, ...(before ? { before } : {}), ...(search ? { search } : {}) });
        seen.push(...page.map(({ id }) => id));
        if (page.length < 2 || seen.length > ids.length) break;
      }
      assert.deepEqual(seen, newest);
    }
  });

  test("by state, beside search and paging", async () => {
    const items = Array.from({ length: 6 }, (_, n) =>
      storeItem({ parsed: { subject: n % 2 ? "odd" : "even" } }),
    );
    const ids = items.map(({ manifest }) => manifest.id);
    const entry = journalWriter();
    await context.store().put(items);
    context
      .store()
      .archive(
        ids
          .slice(0, 4)
          .map((id) => entry(id, "delivery.succeeded", { target: "t", label: "t", recipients: ["x"] })),
      );
    const found = (query: Parameters<MailStore["list"]>[0]) =>
      context
        .store()
        .list(query)
        .map(({ id }) => ids.indexOf(id));
    assert.deepEqual(found({ state: "delivered" }), [3, 2, 1, 0]);
    assert.deepEqual(found({ state: "stored" }), [5, 4]);
    assert.deepEqual(found({ state: "failed" }), []);
    assert.deepEqual(found({ state: "delivered", search: "odd" }), [3, 1]);
    assert.deepEqual(found({ state: "delivered", search: "odd", before: ids[3] as MessageId }), [1]);
    assert.deepEqual(found({ state: "delivered", limit: 1 }), [3]);
  });

  test("refuses a limit that is none", () => {
    for (const limit of [0, -1, 1.5, Number.NaN]) {
      assert.throws(() => context.store().list({ limit }), /limit is .*; it must be a whole number from 1/);
    }
  });

  test("counts what is there", async () => {
    assert.deepEqual(context.store().counts(), {
      received: 0,
      stored: 0,
      deferred: 0,
      delivered: 0,
      bounced: 0,
      quarantined: 0,
      discarded: 0,
      failed: 0,
    });
    await context.store().put([storeItem(), storeItem()]);
    assert.deepEqual(context.store().counts(), {
      received: 0,
      stored: 2,
      deferred: 0,
      delivered: 0,
      bounced: 0,
      quarantined: 0,
      discarded: 0,
      failed: 0,
    });
  });
}
