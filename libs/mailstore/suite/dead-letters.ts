import assert from "node:assert/strict";
import { test } from "node:test";
import { newMessageId } from "@millrace/mail";
import type { DeadLetterQuery } from "../dead-letter.ts";
import { journalWriter, type SuiteContext, storeItem } from "./fixtures.ts";

/** Dead letters: who becomes one, how they are found, how they go. */
export function deadLetterCases(context: SuiteContext): void {
  const refused = {
    class: "TemporaryFailure",
    message: "hook: refused",
    permanent: false,
    code: "ECONNREFUSED",
  };
  const unknown = {
    ...{ class: "PermanentFailure", message: "smtp: no", permanent: true, code: "550", status: "5.1.1" },
    reply: "550 5.1.1 no such 100%_user",
  };
  const hook = { target: "webhook-1", label: "webhook:https://app.test/in", recipients: ["ann@one.test"] };
  const smtp = {
    target: "smtp-2",
    label: "smtp:smtp://relay.test",
    recipients: ["bob@two.test", "eve@two.test"],
  };

  const found = (query: DeadLetterQuery) =>
    context
      .store()
      .deadLetters(query, { limit: 100 })
      .map(({ worker, code }) => `${worker} ${code}`);

  async function threeLetters() {
    const entry = journalWriter();
    const [a, b] = [
      storeItem({ parsed: { subject: "Invoice 7" }, from: "", recipients: ["ann@one.test"] }),
      storeItem({ parsed: { subject: "Hello" }, from: "x@sender.test" }),
    ];
    const [first, second] = [a.manifest.id, b.manifest.id];
    // The first two before the messages are in the store, the third after.
    context.store().archive([
      entry(first, "job.dead", {
        ...hook,
        job: "deliver/x",
        worker: "deliver",
        attempts: 8,
        failure: refused,
      }),
      entry(second, "job.dead", {
        ...smtp,
        job: "deliver/y",
        worker: "deliver",
        attempts: 1,
        failure: unknown,
      }),
    ]);
    await context.store().put([a, b]);
    const error = { class: "TypeError", message: "undefined is no function", permanent: false };
    context
      .store()
      .archive([entry(second, "job.dead", { job: "count/z", worker: "count", attempts: 5, failure: error })]);
    return { entry, first, second };
  }

  test("a dead letter says which job of which message ended, how and when", async () => {
    const { first } = await threeLetters();
    const [letter] = context.store().deadLetters({ messages: [first] }, { limit: 1 });
    assert.deepEqual(letter, {
      ...{ number: 1, message: first, worker: "deliver", job: "deliver/x", attempts: 8 },
      at: new Date(1_785_000_000_001).toISOString(),
      ...{ target: "webhook-1", label: "webhook:https://app.test/in" },
      ...{ class: "TemporaryFailure", code: "ECONNREFUSED", error: "hook: refused", permanent: false },
      ...{ status: null, reply: null, sender: "", recipients: ["ann@one.test"], subject: "Invoice 7" },
    });
  });

  test("every filter narrows, all of them together", async () => {
    const { first, second } = await threeLetters();
    const all = ["deliver ECONNREFUSED", "deliver 550", "count null"];
    for (const [query, expected] of [
      [{}, all],
      [{ numbers: [1, 3] }, [all[0], all[2]]],
      [{ messages: [second] }, [all[1], all[2]]],
      [{ worker: "deliver" }, [all[0], all[1]]],
      [{ since: 1_785_000_000_002 }, [all[1], all[2]]],
      [{ until: 1_785_000_000_002 }, [all[0]]],
      [{ error: "econnrefused" }, [all[0]]],
      [{ error: "5.1.1" }, [all[1]]],
      [{ error: "TypeError" }, [all[2]]],
      [{ error: "no such 100%_user" }, [all[1]]],
      [{ error: "such_100" }, []],
      [{ error: "no*such" }, []],
      [{ error: "550 * 100%*" }, [all[1]]],
      [{ recipient: "EVE@two.test" }, [all[1]]],
      [{ recipient: "*@one.test" }, [all[0]]],
      [{ recipient: "two.test" }, []],
      [{ sender: "<>" }, [all[0]]],
      [{ sender: "x@*" }, [all[1], all[2]]],
      [{ target: "webhook-1" }, [all[0]]],
      [{ target: "relay.test" }, [all[1]]],
      [{ subject: "invoice" }, [all[0]]],
      [{ worker: "deliver", subject: "hello", error: "550" }, [all[1]]],
      [{ worker: "deliver", messages: [first], error: "550" }, []],
    ] as [DeadLetterQuery, string[]][]) {
      assert.deepEqual(found(query), expected, JSON.stringify(query));
      assert.equal(context.store().countDeadLetters(query).total, expected.length, JSON.stringify(query));
    }
  });

  test("they are counted by worker and error, and read page by page from either end", async () => {
    await threeLetters();
    assert.deepEqual(context.store().countDeadLetters({}), {
      ...{ total: 3, newest: 3 },
      groups: [
        { worker: "count", error: "TypeError", count: 1 },
        { worker: "deliver", error: "550", count: 1 },
        { worker: "deliver", error: "ECONNREFUSED", count: 1 },
      ],
    });
    const numbers = (page: object) =>
      context
        .store()
        .deadLetters({}, { limit: 2, ...page })
        .map(({ number }) => number);
    assert.deepEqual(numbers({}), [1, 2]);
    assert.deepEqual(numbers({ after: 2 }), [3]);
    assert.deepEqual(numbers({ newestFirst: true }), [3, 2]);
    assert.deepEqual(numbers({ newestFirst: true, before: 2 }), [1]);
  });

  test("a replayed or discarded job is a dead letter no more, and a number is never given twice", async () => {
    const { entry, first, second } = await threeLetters();
    const dead = { job: "count/z", worker: "count", failure: refused };
    context.store().archive([entry(second, "job.discarded", { job: "count/z", worker: "count" })]);
    assert.deepEqual(found({}), ["deliver ECONNREFUSED", "deliver 550"]);
    assert.equal(context.store().summary(second)?.state, "failed");
    context
      .store()
      .archive([entry(first, "job.replayed", { job: "deliver/x", worker: "deliver", target: "webhook-1" })]);
    assert.deepEqual(found({}), ["deliver 550"]);
    assert.equal(context.store().summary(first)?.state, "stored");
    context.store().archive([entry(newMessageId(), "job.dead", dead)]);
    assert.deepEqual(
      context
        .store()
        .deadLetters({}, { limit: 9 })
        .map(({ number }) => number),
      [2, 4],
    );
  });
}
