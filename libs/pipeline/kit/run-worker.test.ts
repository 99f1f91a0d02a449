import assert from "node:assert/strict";
import { text } from "node:stream/consumers";
import test from "node:test";
import { z } from "zod";
import { defineEvent } from "../event-definition.ts";
import { PermanentFailure, RetryAfter } from "../index.ts";
import { defineWorker } from "../worker.ts";
import { mail } from "./mail.ts";
import { runWorker } from "./run-worker.ts";

const found = defineEvent("invoice.found", z.object({ file: z.string(), pages: z.number().default(1) }));

test("a worker runs on a sample: parsed message, attachments, configuration, events and logs", async () => {
  const worker = defineWorker({
    name: "invoices",
    on: "message.parsed",
    where: { attachment: "application/pdf" },
    config: z.object({ prefix: z.string().default("in/") }),
    emits: [found],
    async handle(event, ctx) {
      const unparsed: boolean = event.data.unparsed;
      for (const pdf of await ctx.attachments("application/pdf")) {
        const octets = await text(pdf.stream());
        assert.equal(octets.slice(0, 5), "%PDF-");
        ctx.emit("invoice.found", { file: ctx.config.prefix + pdf.filename });
      }
      assert.match(await text(ctx.raw()), /^Content-Type: application\/pdf/m);
      ctx.log.info({ unparsed, from: ctx.envelope.from }, "read");
    },
  });
  const run = await runWorker(worker, mail("invoice.eml", { from: "shop@example.net" }), {
    config: { prefix: "2026/" },
  });
  assert.equal(run.outcome, "done");
  assert.equal(run.events.length, 1);
  assert.equal(run.events[0]?.name, "invoice.found");
  assert.match(String(run.events[0]?.data.file), /^2026\/.*\.pdf$/);
  assert.equal(run.events[0]?.data.pages, 1);
  assert.deepEqual(
    run.logs.map(({ level, msg, unparsed, from }) => ({ level, msg, unparsed, from })),
    [{ level: "info", msg: "read", unparsed: false, from: "shop@example.net" }],
  );
  assert.equal((await runWorker(worker, mail("plain"))).outcome, "unwanted");
});

test("a failure tells when the next attempt is; effects that happened are not repeated", async () => {
  let charged = 0;
  const worker = defineWorker({
    name: "charge",
    on: "message.stored",
    retry: ["10s"],
    async handle(_event, ctx) {
      const receipt = await ctx.once("charge", () => ({ number: ++charged }));
      assert.deepEqual(receipt, { number: 1 });
      throw new Error("the ledger is closed");
    },
  });
  const first = await runWorker(worker, mail("plain"));
  assert.equal(first.outcome, "failed");
  assert.deepEqual(first.events, []);
  assert.ok(first.retryIn && first.retryIn > 7_000 && first.retryIn <= 10_000, String(first.retryIn));
  const second = await first.again();
  assert.equal(second.attempt, 2);
  assert.equal(second.retryIn, undefined);
  assert.deepEqual([...second.once], [["charge", { number: 1 }]]);
  assert.equal(charged, 1);
});

test("an effect that throws did not happen; one that returns what is no JSON did", async () => {
  let tries = 0;
  const flaky = defineWorker({
    name: "flaky",
    on: "message.stored",
    async handle(_event, ctx) {
      await ctx.once("call", () => {
        if (++tries === 1) throw new Error("refused");
        return 10n;
      });
    },
  });
  const first = await runWorker(flaky, mail("plain"));
  assert.equal(first.failure?.message, "refused");
  const second = await first.again();
  assert.equal(second.failure?.code, "UNKEPT");
  assert.equal(second.failure?.permanent, true);
  await second.again();
  assert.equal(tries, 2);
});

test("snooze, RetryAfter, PermanentFailure, a hang and an invalid event end as they say", async () => {
  const ending = (handle: (ctx: { snooze(delay: string): never }) => unknown) =>
    runWorker(
      defineWorker({ name: "w", on: "message.stored", timeout: 50, handle: (_, ctx) => handle(ctx) }),
      mail("plain"),
    );
  const snoozed = await ending((ctx) => ctx.snooze("10m"));
  assert.deepEqual([snoozed.outcome, snoozed.retryIn], ["snoozed", 600_000]);
  assert.equal((await snoozed.again()).attempt, 1);
  const asked = await ending(() => Promise.reject(new RetryAfter("2h", "closed for lunch")));
  assert.deepEqual([asked.failure?.message, asked.retryIn], ["closed for lunch", 7_200_000]);
  const never = await ending(() => Promise.reject(new PermanentFailure("no")));
  assert.deepEqual([never.outcome, never.retryIn], ["failed", undefined]);
  const hung = await ending(() => new Promise(() => {}));
  assert.equal(hung.failure?.code, "TIMEOUT");
  const rubbish = await ending(() => Promise.reject({ not: "an error" }));
  assert.equal(rubbish.outcome, "failed");
  const listener = defineWorker({ name: "l", on: found, handle: (event) => void event.data.pages.toFixed() });
  const invalid = await runWorker(listener, mail("plain"), {
    event: { name: "invoice.found", data: { file: 7 } },
  });
  assert.equal(invalid.failure?.code, "EVENT_INVALID");
});

test("a mail that is neither a file nor a sample, and a wrong configuration, are said to be", async () => {
  assert.throws(() => mail("nosuch.eml"), /no such file here, nor a sample.*invoice/);
  const worker = defineWorker({
    name: "w",
    on: "message.stored",
    config: z.object({ n: z.number() }),
    handle() {},
  });
  await assert.rejects(runWorker(worker, mail("plain")), /configuration of worker w: .*n/s);
});
