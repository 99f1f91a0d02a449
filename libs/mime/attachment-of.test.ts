import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { Readable } from "node:stream";
import { test } from "node:test";
import { PermanentFailure } from "@millrace/mail";
import { corpus } from "@millrace/test/corpus";
import { attachmentOf, parseMessage } from "./index.ts";

const head = "From: a@example.com\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n";
const png = "--b\r\nContent-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n\r\n";

async function sha256(stream: Readable): Promise<string> {
  const hash = createHash("sha256");
  for await (const chunk of stream) hash.update(chunk);
  return hash.digest("hex");
}

/** A message with an attachment of `megabytes`, then a small one, made as it is read. */
function large(megabytes: number, onChunk: () => void = () => {}): { raw: Readable; sha256(): string } {
  const hash = createHash("sha256");
  const octets = randomBytes(57 * 1_024);
  const encoded = Buffer.from(octets.toString("base64").replace(/.{76}/g, "$&\r\n"));
  const raw = Readable.from(
    (function* () {
      yield Buffer.from(`${head}--b\r\n\r\nwords\r\n${png}`);
      for (let sent = 0; sent < megabytes * 1e6; sent += octets.length) {
        onChunk();
        hash.update(octets);
        yield encoded;
      }
      yield Buffer.from(`${png}AAEC\r\n--b--\r\n`);
    })(),
  );
  return { raw, sha256: () => hash.digest("hex") };
}

test("every attachment of the corpus streams out as it was described", async (t) => {
  const messages = corpus();
  if (messages.length === 0) return t.skip("no corpus here");
  let count = 0;
  for (const { name, raw } of messages) {
    const { attachments } = await parseMessage(raw);
    for (const { index, sha256: expected } of attachments) {
      assert.equal(
        await sha256(await attachmentOf(Readable.from([raw]), index)),
        expected,
        `${name} ${index}`,
      );
      count++;
    }
  }
  assert.ok(count > 50, `${count} attachments`);
});

test("a large attachment streams through in little memory", async () => {
  const message = large(100);
  const before = process.memoryUsage.rss();
  let peak = 0;
  const hash = createHash("sha256");
  for await (const chunk of await attachmentOf(message.raw, 0)) {
    hash.update(chunk);
    peak = Math.max(peak, process.memoryUsage.rss() - before);
  }
  assert.equal(hash.digest("hex"), message.sha256());
  assert.ok(peak < 90e6, `100 MB took ${peak} octets`);
});

test("the parts before the one asked for are passed over in little memory", async () => {
  const before = process.memoryUsage.rss();
  const content = await attachmentOf(large(100).raw, 1);
  const grown = process.memoryUsage.rss() - before;
  assert.deepEqual(Buffer.concat(await content.toArray()), Buffer.from([0, 1, 2]));
  assert.ok(grown < 90e6, `took ${grown} octets`);
});

test("the message is read no faster than its reader reads", async () => {
  let chunks = 0;
  const { raw } = large(60, () => chunks++);
  const content = await attachmentOf(raw, 0);
  await once(content, "readable");
  const [early, total] = [chunks, 60e6 / (57 * 1_024)];
  assert.ok(early < total / 4, `${early} of ${total} chunks were read for nobody`);
  content.destroy();
  await once(raw, "close");
  assert.ok(chunks < total / 4);
});

test("the rest of the message is not read once the attachment has ended", async () => {
  let after = 0;
  const raw = Readable.from(
    (function* () {
      yield Buffer.from(`${head}${png}AAEC\r\n--b\r\n\r\n`);
      for (; after < 10_000; after++) yield Buffer.from("words\r\n".repeat(1_000));
    })(),
  );
  assert.deepEqual(Buffer.concat(await (await attachmentOf(raw, 0)).toArray()), Buffer.from([0, 1, 2]));
  await new Promise((resolve) => (raw.closed ? resolve(null) : raw.once("close", resolve)));
  assert.ok(after < 1_000, `${after} chunks`);
});

test("there is no such attachment: the error names the number and what there is", async () => {
  const two = Buffer.from(`${head}${png}AAEC\r\n${png}AAEC\r\n--b--\r\n`);
  await assert.rejects(attachmentOf(two, 2), (error) => {
    assert.ok(error instanceof PermanentFailure);
    assert.equal(error.message, "there is no attachment 2: the message has 0 to 1");
    return true;
  });
  await assert.rejects(attachmentOf(Buffer.from("\r\nwords"), 0), /no attachment 0: the message has none/);
  const broken = Buffer.from(`${head}--b\r\nX-Long: ${"x".repeat(400_000)}\r\n\r\n`);
  await assert.rejects(attachmentOf(broken, 0), /no attachment 0/);
});

test("a source that breaks breaks the attachment", async () => {
  const found = Promise.withResolvers<void>();
  const broken = Readable.from(
    (async function* () {
      yield Buffer.from(head + png + "AAEC\r\n".repeat(20_000));
      await found.promise;
      throw new RangeError("the spool is gone");
    })(),
  );
  const content = await attachmentOf(broken, 0);
  found.resolve();
  await assert.rejects(content.toArray(), (error) => error instanceof RangeError);

  const early = Readable.from(
    (async function* () {
      yield Buffer.from(head);
      throw new RangeError("the spool is gone");
    })(),
  );
  await assert.rejects(attachmentOf(early, 0), (error) => error instanceof RangeError);
});
