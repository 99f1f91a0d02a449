import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { routeSchema, type Target } from "@millrace/mail";
import { defineWorker } from "@millrace/pipeline";
import { type RunningWorker, startWorker } from "@millrace/pipeline/runtime";
import { until } from "@millrace/test/until";
import { type Delivering, delivered, startDelivering, words } from "./testing/delivering.ts";
import type { Transport } from "./transport.ts";

const seen: { label: string; attempt: number; size: number; text: string }[] = [];
const had: { target: string; delivered: string[] }[] = [];
const routes = [
  {
    ...routeSchema.parse({ recipients: "*", to: [{ lmtp: "one:24" }, { lmtp: "two:24" }] }),
    retry: { firstDelay: 10, maxDelay: 20, jitter: 0, attempts: 3 },
  },
];
const header = { add: [{ name: "X-Seen", value: "yes" }], remove: [{ name: "X-Forged" }] };
let delivering: Delivering;
let gate: RunningWorker;
let open = false;

/** Defers everything at the first attempt, so that what a retry carries is seen as well. */
function twice({ label }: Target): Transport {
  return {
    async deliver({ attempt, size, read, recipients }) {
      seen.push({ label, attempt, size, text: (await read()).toString() });
      if (attempt > 1) return recipients.map(delivered);
      return recipients.map((recipient) => ({
        recipient,
        result: "deferred",
        reply: "450 later",
        code: "450",
      }));
    },
    async close() {},
  };
}

before(async () => {
  delivering = await startDelivering({
    ...{ routes, openTransport: twice, keepBodies: true },
    ...{ delivery: { after: "message.cleared" }, deliveries: () => had },
  });
  const worker = defineWorker({
    name: "gate",
    on: "message.stored",
    handle(_event, ctx) {
      if (!open) ctx.snooze(50);
      ctx.emit("message.cleared", { header });
    },
  });
  gate = await startWorker(worker, delivering.pipeline);
});
after(async () => {
  await gate.stop();
  await delivering.stop();
});

test("waits for leave, and every target at every attempt gets the message with its edits", async () => {
  const id = await delivering.accept(["a@b.test"], {}, "X-Forged: 1\r\nSubject: a\r\n\r\nbody\r\n");
  await until(async () => (await delivering.pipeline.ledger.unitsOf(id)).has("gate/message.stored"));
  assert.deepEqual(await delivering.entriesOf(id), []);
  open = true;
  await until(async () => (await delivering.deliveredTo()).length === 2);
  const text = "X-Seen: yes\r\nSubject: a\r\n\r\nbody\r\n";
  assert.deepEqual(
    seen
      .map(({ label, attempt, ...rest }) => ({ what: `${label} ${attempt}`, ...rest }))
      .sort((a, b) => (a.what < b.what ? -1 : 1)),
    ["lmtp:one:24 1", "lmtp:one:24 2", "lmtp:two:24 1", "lmtp:two:24 2"].map((what) => ({
      ...{ what, size: text.length, text },
    })),
  );
});

test("whom a message has reached by an earlier leave does not get it again", async () => {
  const target = String(
    (await delivering.pipeline.journal.after("0-0", 1_000)).find(
      ({ event }) => event === "delivery.requested",
    )?.data.target,
  );
  had.push({ target, delivered: ["a@b.test"] });
  const id = await delivering.accept(["a@b.test"], {}, "Subject: b\r\n\r\nbody\r\n");
  await until(async () => (await delivering.deliveredTo()).length === 3);
  const entries = words(await delivering.entriesOf(id)).filter((entry) =>
    entry.startsWith("delivery.succeeded"),
  );
  assert.equal(entries.length, 1);
  assert.ok((await delivering.entriesOf(id)).every(({ data }) => data.target !== target));
});
