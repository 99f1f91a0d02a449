import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { derivedMessageId, emptyParsedMessage } from "@millrace/mail";
import { openMailStore } from "@millrace/mailstore";
import { createLogger } from "@millrace/service";
import { startRedis, type TestRedis } from "@millrace/test/redis";
import { until } from "@millrace/test/until";
import { openPipeline, type Pipeline } from "./open-pipeline.ts";
import { startWorker } from "./start-worker.ts";
import { submitMessage } from "./submit-message.ts";
import { defineWorker } from "./worker.ts";

const log = createLogger("test", "silent");
let redis: TestRedis;
let folder: string;
let pipeline: Pipeline;

before(async () => {
  redis = await startRedis();
  folder = await mkdtemp(join(tmpdir(), "millrace-submit-"));
  const paths = { data: folder, redis: folder, mail: `${folder}/mail`, maildir: folder };
  pipeline = await openPipeline({ redisUrl: redis.url, paths }, log);
});
after(async () => {
  await pipeline.close();
  await redis.stop();
  await rm(folder, { recursive: true });
});

const submission = (reason: string, octets: Buffer) => ({
  id: derivedMessageId(Date.UTC(2026, 0, 1), reason),
  envelope: { from: "", recipients: ["a@b.test"], smtputf8: false, body: "7bit" as const },
  hostname: "mx.test",
  octets,
  worker: "deliver",
});

test("without anybody to work on it a message is not taken in", async () => {
  await assert.rejects(
    submitMessage(pipeline, submission("nobody", Buffer.from("x"))),
    /no worker has subscribed/,
  );
});

test("a message of our own is handled like one that came in, and once, however often it is submitted", async () => {
  const seen: { body: string; from: string; event: string }[] = [];
  const worker = defineWorker({
    name: "seer",
    on: "message.received",
    async handle(event, ctx) {
      seen.push({ body: (await ctx.read()).toString(), from: ctx.envelope.from, event: event.name });
    },
  });
  const running = await startWorker(worker, pipeline);
  try {
    const first = submission("once", Buffer.from("Subject: x\r\n\r\ny\r\n"));
    await Promise.all([submitMessage(pipeline, first), submitMessage(pipeline, first)]);
    await submitMessage(pipeline, { ...first, octets: Buffer.from("another body") });
    const second = submission("twice", Buffer.alloc(200_000, "z"));
    // What a process that died has left of it: a part, never committed.
    await pipeline.spool.draft(second.id).write(Buffer.alloc(150_000, "a"));
    await submitMessage(pipeline, second);
    await until(() => seen.length >= 2);
    await sleep(100);
    assert.deepEqual(
      seen.map(({ body, from, event }) => [body.length, from, event]),
      [
        [17, "", "message.received"],
        [200_000, "", "message.received"],
      ],
    );
    const [entry, ...others] = (await pipeline.journal.of(first.id)).filter(
      ({ event }) => event === "message.received",
    );
    assert.deepEqual(others, []);
    assert.equal(entry?.worker, "deliver");
    assert.deepEqual(entry?.data.recipients, ["a@b.test"]);
  } finally {
    await running.stop();
  }
});

test("what has long been stored is not made again", async () => {
  const { id, octets, envelope } = submission("stored", Buffer.from("Subject: x\r\n\r\ny\r\n"));
  const store = openMailStore({ directory: `${folder}/mail` });
  await store.put([
    {
      manifest: {
        ...{
          v: 1,
          id,
          receivedAt: Date.now(),
          size: octets.length,
          sha256: "0".repeat(64),
          receivedFieldSize: 0,
        },
        envelope: {
          ...{ ...envelope, helo: "mx.test", protocol: "LOCAL", tls: null, user: null },
          client: { ip: "127.0.0.1", port: 0 },
        },
      },
      parsed: emptyParsedMessage([]),
      raw: octets,
    },
  ]);
  store.close();
  await submitMessage(pipeline, submission("stored", octets));
  assert.equal(await pipeline.spool.has(id), false);
  assert.deepEqual(await pipeline.journal.of(id), []);
});

test("to discard a draft leaves a message that exists alone", async () => {
  const { id } = submission("once", Buffer.alloc(0));
  await pipeline.spool.discard(id);
  assert.ok(await pipeline.spool.has(id));
});
