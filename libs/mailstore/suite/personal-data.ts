import assert from "node:assert/strict";
import { test } from "node:test";
import { personOf } from "@millrace/mail";
import type { PersonalMessage } from "../personal-data.ts";
import { journalWriter, type SuiteContext, storeItem } from "./fixtures.ts";

/** What the store holds about one person. */
export function personalDataCases(context: SuiteContext): void {
  const person = personOf("Zora@Example.com");
  const box = (address: string) => [{ name: "", address }];
  const found = async (since = 0): Promise<PersonalMessage[]> => {
    const all = [];
    for await (const each of context.store().personalData().messages(person, since)) all.push(each);
    return all.sort((a, b) => (a.id < b.id ? -1 : 1));
  };

  test("finds the messages that are from or for a person, and those that mention the address", async () => {
    const started = Date.now();
    const items = [
      storeItem({ from: "zora@example.com" }),
      storeItem({ recipients: ["bob@example.com", "ZORA@example.com", "carl@example.com"] }),
      storeItem({ parsed: { replyTo: box("zora@EXAMPLE.com") } }),
      storeItem({ parsed: { text: "write to zora@example.com!" } }),
      storeItem({ parsed: { to: box("azora@example.com"), text: "zora@example.com.au" } }),
      storeItem(),
    ];
    await context.store().put(items);
    const ids = items.map(({ manifest }) => manifest.id);
    assert.deepEqual(await found(), [
      { id: ids[0], concerned: true, otherRecipients: 1 },
      { id: ids[1], concerned: true, otherRecipients: 2 },
      { id: ids[2], concerned: true, otherRecipients: 1 },
      { id: ids[3], concerned: false, otherRecipients: 1 },
    ]);
    assert.equal((await found(started - 1)).length, 4);
    assert.deepEqual(await found(Date.now() + 60_000), []);
  });

  test("replaces the address in what is recorded about other people's messages", async () => {
    const store = context.store();
    const entry = journalWriter();
    const item = storeItem({ recipients: ["list@example.com"] });
    const { id } = item.manifest;
    await store.put([item]);
    const delivery = { target: "smtp-1", label: "smtp:mx", recipients: ["list@example.com"], attempt: 1 };
    const reply = "550 5.1.1 <zora@example.com>, a member of list@example.com, is unknown";
    store.archive([
      entry(id, "message.received"),
      entry(id, "delivery.failed", { ...delivery, reply, about: { members: ["zora@example.com"] } }),
      entry(id, "job.dead", {
        ...delivery,
        job: "deliver/x",
        worker: "deliver",
        failure: { message: reply },
      }),
    ]);
    assert.equal((await store.personalData().traces(person)).records, 4);
    assert.deepEqual(await store.personalData().redact(person), {
      ...{ journalEntries: 2, deliveries: 1, deadLetters: 1 },
    });
    const redacted = "550 5.1.1 <erased>, a member of list@example.com, is unknown";
    const [, failed] = store.journal(id);
    assert.deepEqual(failed?.data, { ...delivery, reply: redacted, about: { members: ["erased"] } });
    assert.deepEqual(
      store.deliveries(id).map(({ state, lastReply }) => [state, lastReply]),
      [["failed", redacted]],
    );
    assert.equal(store.deadLetters({}, { limit: 1 })[0]?.error, redacted);
    const traces = await store.personalData().traces(person);
    assert.deepEqual([traces.records, traces.leftovers], [0, 0]);
    assert.deepEqual(await store.personalData().redact(person), {
      ...{ journalEntries: 0, deliveries: 0, deadLetters: 0 },
    });
  });

  test("remembers that mail was erased, newest first", () => {
    const data = context.store().personalData();
    const first = { at: "2026-01-02T03:04:05.000Z", by: "root@mx", messages: 3 };
    const second = { at: "2026-02-02T03:04:05.000Z", by: "ann@mx", messages: 0 };
    data.record(first);
    data.record(second);
    assert.deepEqual(data.erasures(), [second, first]);
  });
}
