import assert from "node:assert/strict";
import { test } from "node:test";
import { defineWorker, PermanentFailure, z } from "@millrace/pipeline";
import { mail, startPipeline } from "@millrace/pipeline/testing";

test("a test starts a pipeline of its own, sends to it and waits for what its worker does", {
  timeout: 180_000,
}, async () => {
  const worker = defineWorker({
    name: "invoices",
    on: "message.stored",
    config: z.object({ limit: z.number() }),
    retry: { attempts: 1 },
    emits: { "invoice.found": z.object({ files: z.array(z.string().nullable()), limit: z.number() }) },
    async handle(_event, ctx) {
      const files = (await ctx.attachments("application/pdf")).map(({ filename }) => filename);
      if (files.length === 0) throw new PermanentFailure("no invoice in it", { code: "NO_INVOICE" });
      ctx.emit("invoice.found", { files, limit: ctx.config.limit });
    },
  });
  const config = {
    routes: [{ recipients: "*@example.com", to: { maildir: "var/maildir/{recipient}" } }],
    workers: { invoices: { limit: 3 } },
  };
  await using pipeline = await startPipeline({ workers: [worker], config });

  const id = await pipeline.send("invoice", { recipients: ["in@example.com"] });
  const found = await pipeline.waitFor("invoice.found", { message: id });
  assert.equal(found.data.limit, 3);
  assert.equal((found.data.files as string[]).length, 1);

  const plain = await pipeline.send(mail("plain"));
  await pipeline.waitFor("job.dead", { worker: "invoices" });
  await pipeline.idle();
  const [letter, ...others] = await pipeline.deadLetters();
  assert.deepEqual([letter?.message, letter?.worker, others.length], [plain, "invoices", 0]);
  const dead = (await pipeline.journal(plain)).find(({ event }) => event === "job.dead");
  assert.match(
    String((dead?.data.failure as { at?: string } | undefined)?.at),
    /test-kit\.test\.ts:\d+:\d+$/,
  );
  assert.match(await pipeline.command("audit"), /^holds {2}accepted 2 /m);
  await assert.rejects(
    pipeline.waitFor("no.such", { within: 200 }),
    /no no\.such within 200 ms; there was edge: message\.received/,
  );
  await assert.rejects(pipeline.send("plain", { recipients: ["nobody@other.test"] }), /550 5\.1\.1/);
});
