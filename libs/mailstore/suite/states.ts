import assert from "node:assert/strict";
import { test } from "node:test";
import type { MessageId } from "@millrace/mail";
import { journalWriter, type SuiteContext, storeItem } from "./fixtures.ts";

/** Where messages and their targets stand after which entries. */
export function stateCases(context: SuiteContext): void {
  const smtp = { target: "smtp-1", label: "smtp:smtp://a", recipients: ["bob@example.com"] };
  const hook = { target: "webhook-2", label: "webhook:https://b", recipients: ["eve@example.com"] };
  const ok = { attempt: 1, ms: 3, reply: "250 2.0.0 Ok" };
  const later = { attempt: 1, ms: 3, reply: "451 4.3.0 later", code: "451" };
  const never = { attempt: 1, ms: 3, reply: "550 5.1.1 unknown", code: "550" };
  const failure = { class: "PermanentFailure", message: "gave up", permanent: true };

  async function stateAfter(
    steps: (readonly [event: string, data: Record<string, unknown>])[],
    expected: string[],
  ): Promise<MessageId> {
    const item = storeItem();
    const early = storeItem();
    const entry = journalWriter();
    await context.store().put([item]);
    for (const [index, [event, data]] of steps.entries()) {
      context.store().archive([entry(item.manifest.id, event, data), entry(early.manifest.id, event, data)]);
      assert.equal(context.store().summary(item.manifest.id)?.state, expected[index], `${index}: ${event}`);
    }
    // A message whose entries were archived before it was stored ends in the same state.
    assert.equal(context.store().summary(early.manifest.id), undefined);
    await context.store().put([early]);
    assert.equal(context.store().summary(early.manifest.id)?.state, expected.at(-1));
    assert.deepEqual(
      context.store().deliveries(early.manifest.id).length,
      context.store().deliveries(item.manifest.id).length,
    );
    const counts = Object.entries(context.store().counts()).filter(([, messages]) => messages > 0);
    assert.deepEqual(counts, [[expected.at(-1), 2]]);
    return item.manifest.id;
  }

  test("one target, taken at once", async () => {
    const id = await stateAfter([["delivery.succeeded", { ...smtp, ...ok }]], ["delivered"]);
    assert.deepEqual(context.store().deliveries(id), [
      {
        ...smtp,
        delivered: smtp.recipients,
        state: "delivered",
        attempts: 1,
        lastAttemptAt: new Date(1_785_000_000_001).toISOString(),
        lastReply: "250 2.0.0 Ok",
      },
    ]);
  });

  const held = { by: "clamd", reason: "virus Eicar" };
  test("held back, released and taken", async () => {
    await stateAfter(
      [
        ["message.quarantined", held],
        ["quarantine.released", { by: "a@host" }],
        ["delivery.succeeded", { ...smtp, ...ok }],
      ],
      ["quarantined", "stored", "delivered"],
    );
  });

  test("held back and discarded: the reasons are with the deliveries", async () => {
    const id = await stateAfter(
      [
        ["message.quarantined", held],
        ["quarantine.discarded", { by: "a@host" }],
      ],
      ["quarantined", "discarded"],
    );
    const [row] = context.store().deliveries(id);
    assert.deepEqual([row?.target, row?.label, row?.lastReply], ["", "clamd", "virus Eicar"]);
  });

  test("held back, and let go by the worker after all", async () => {
    await stateAfter(
      [
        ["message.quarantined", held],
        ["message.cleared", {}],
        ["delivery.deferred", { ...smtp, ...later }],
      ],
      ["quarantined", "stored", "deferred"],
    );
  });

  test("what was delivered stays so, whatever a worker finds later", async () => {
    await stateAfter(
      [
        ["message.cleared", {}],
        ["delivery.succeeded", { ...smtp, ...ok }],
        ["message.quarantined", held],
      ],
      ["stored", "delivered", "delivered"],
    );
  });

  test("one target, deferred and then taken", async () => {
    const id = await stateAfter(
      [
        ["delivery.deferred", { ...smtp, ...later }],
        ["delivery.succeeded", { ...smtp, ...ok, attempt: 2 }],
      ],
      ["deferred", "delivered"],
    );
    assert.equal(context.store().deliveries(id)[0]?.attempts, 2);
  });

  test("several targets: the message is delivered when the last one is", async () => {
    await stateAfter(
      [
        ["delivery.requested", smtp],
        ["delivery.requested", hook],
        ["delivery.deferred", { ...hook, ...later }],
        ["delivery.succeeded", { ...smtp, ...ok }],
        ["delivery.succeeded", { ...hook, ...ok }],
      ],
      ["stored", "stored", "deferred", "deferred", "delivered"],
    );
  });

  test("several targets: one fails, and shows once none is tried any more", async () => {
    await stateAfter(
      [
        ["delivery.requested", smtp],
        ["delivery.requested", hook],
        ["delivery.failed", { ...hook, ...never }],
        ["delivery.succeeded", { ...smtp, ...ok }],
      ],
      ["stored", "stored", "stored", "failed"],
    );
  });

  test("one target that answers for each recipient (LMTP)", async () => {
    const both = { ...smtp, recipients: ["a@example.com", "b@example.com"] };
    const a = { ...smtp, recipients: ["a@example.com"] };
    const b = { ...smtp, recipients: ["b@example.com"] };
    const id = await stateAfter(
      [
        ["delivery.requested", both],
        ["delivery.succeeded", { ...a, ...ok }],
        ["delivery.deferred", { ...b, ...later }],
        ["delivery.failed", { ...b, ...never, attempt: 2 }],
      ],
      ["stored", "stored", "deferred", "failed"],
    );
    const [delivery, ...others] = context.store().deliveries(id);
    assert.deepEqual(others, []);
    assert.deepEqual(
      [delivery?.recipients, delivery?.state, delivery?.attempts, delivery?.lastReply],
      [both.recipients, "failed", 2, "550 5.1.1 unknown"],
    );
  });

  test("a dead delivery fails its target, a replay puts it back, and the last word counts", async () => {
    const dead = { job: "j1", worker: "deliver", target: smtp.target, failure };
    const id = await stateAfter(
      [
        ["delivery.deferred", { ...smtp, ...later }],
        ["job.dead", dead],
        ["job.replayed", { job: "j1", worker: "deliver", target: smtp.target }],
        ["delivery.succeeded", { ...smtp, ...ok }],
      ],
      ["deferred", "failed", "stored", "delivered"],
    );
    assert.equal(context.store().deliveries(id).length, 1);
  });

  test("a failure the sender was told of is no failure that waits for somebody", async () => {
    const bounced = { ...hook, ...never, dsn: "01arz3ndektsv4rrffq69g5fav" };
    const id = await stateAfter(
      [
        ["delivery.requested", smtp],
        ["delivery.requested", hook],
        ["delivery.failed", { ...hook, ...never }],
        ["delivery.bounced", bounced],
        ["delivery.deferred", { ...smtp, ...later }],
        ["delivery.succeeded", { ...smtp, ...ok }],
      ],
      ["stored", "stored", "stored", "stored", "deferred", "bounced"],
    );
    const states = context.store().deliveries(id);
    assert.deepEqual(states.map(({ state }) => state).sort(), ["bounced", "delivered"]);
    assert.equal(states.find(({ state }) => state === "bounced")?.lastReply, never.reply);
  });

  test("a failure weighs more than one the sender was told of", async () => {
    await stateAfter(
      [
        ["delivery.bounced", { ...hook, ...never }],
        ["delivery.failed", { ...smtp, ...never }],
      ],
      ["bounced", "failed"],
    );
  });

  test("a dead delivery takes nothing back from a recipient who has the message", async () => {
    await stateAfter(
      [
        ["delivery.succeeded", { ...smtp, ...ok }],
        ["job.dead", { job: "j1", worker: "deliver", target: smtp.target, failure }],
      ],
      ["delivered", "delivered"],
    );
  });

  test("a delivery that dies before its targets are known fails the message until they are", async () => {
    const id = await stateAfter(
      [
        ["job.dead", { job: "j1", worker: "deliver", failure }],
        ["job.replayed", { job: "j1", worker: "deliver" }],
        ["delivery.requested", smtp],
        ["delivery.succeeded", { ...smtp, ...ok }],
      ],
      ["failed", "stored", "stored", "delivered"],
    );
    assert.deepEqual(
      context
        .store()
        .deliveries(id)
        .map(({ target }) => target),
      [smtp.target],
    );
  });

  test("another worker's dead job says nothing about the delivery", async () => {
    await stateAfter(
      [
        ["job.dead", { job: "j1", worker: "crm", failure }],
        ["delivery.succeeded", { ...smtp, ...ok }],
        ["job.dead", { job: "j2", worker: "crm", failure }],
      ],
      ["stored", "delivered", "delivered"],
    );
  });

  test("records that make no sense are kept and move nothing", async () => {
    await stateAfter(
      [
        ["delivery.succeeded", {}],
        ["delivery.failed", { target: 7, recipients: "x" }],
        ["toString", {}],
        ["__proto__", { target: "x" }],
      ],
      ["stored", "stored", "stored", "stored"],
    );
  });
}
