import assert from "node:assert/strict";
import { test } from "node:test";
import type { MessageQuery } from "../selection.ts";
import { journalWriter, type SuiteContext, storeItem } from "./fixtures.ts";

/** Stored messages as the work of a replay or a clean-up, in the order in which they came. */
export function selectingCases(context: SuiteContext): void {
  test("selects by what is known of a message, in the order in which they came, page by page", async () => {
    const entry = journalWriter();
    const items = [
      storeItem({ parsed: { subject: "Invoice 7" }, from: "", recipients: ["ann@one.test"] }),
      storeItem({
        parsed: { subject: "Invoice 8" },
        from: "x@sender.test",
        recipients: ["ann@one.test", "b@two.test"],
      }),
      storeItem({ parsed: { subject: "Hello" }, from: "y@sender.test", recipients: ["b@two.test"] }),
    ].sort((a, b) => (a.manifest.id < b.manifest.id ? -1 : 1));
    for (const [index, { manifest }] of items.entries()) manifest.receivedAt = 1_000 + index;
    const ids = items.map(({ manifest }) => manifest.id);
    await context.store().put(items.toReversed());
    const delivered = { target: "smtp-1", label: "smtp:smtp://relay.test", recipients: ["ann@one.test"] };
    context.store().archive([entry(ids[1] as string, "delivery.succeeded", { ...delivered, attempt: 1 })]);

    const invoices = items.flatMap(({ parsed }, index) =>
      parsed.subject.startsWith("Invoice") ? [ids[index]] : [],
    );
    const to = (address: string) =>
      items.flatMap(({ manifest }, index) =>
        manifest.envelope.recipients.includes(address) ? [ids[index]] : [],
      );
    const from = (address: string) =>
      items.flatMap(({ manifest }, index) => (manifest.envelope.from === address ? [ids[index]] : []));
    for (const [query, expected] of [
      [{}, ids],
      [{ messages: [ids[2], ids[0]] }, [ids[0], ids[2]]],
      [{ since: 1_001 }, ids.slice(1)],
      [{ until: 1_001 }, ids.slice(0, 1)],
      [{ since: 1_001, until: 1_002 }, [ids[1]]],
      [{ subject: "invoice" }, invoices],
      [{ recipient: "ann@ONE.test" }, to("ann@one.test")],
      [{ sender: "<>" }, from("")],
      [{ sender: "y@*" }, from("y@sender.test")],
      [{ state: "delivered" }, [ids[1]]],
      [{ target: "relay.test" }, [ids[1]]],
      [{ target: "smtp-1", state: "failed" }, []],
    ] as [MessageQuery, string[]][]) {
      const selected = context.store().select(query, undefined, 10);
      assert.deepEqual(
        selected.map(({ id }) => id),
        expected,
        JSON.stringify(query),
      );
      assert.equal(context.store().countSelected(query), expected.length, JSON.stringify(query));
    }
    const pages: string[] = [];
    for (let after: string | undefined; ; ) {
      const [next] = context.store().select({}, after, 1);
      if (!next) break;
      pages.push(next.id);
      after = next.position;
    }
    assert.deepEqual(pages, ids);
  });
}
