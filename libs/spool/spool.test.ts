import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { after, before, test } from "node:test";
import { emptyParsedMessage, type Manifest, newMessageId } from "@millrace/mail";
import { startRedis, type TestRedis } from "@millrace/test/redis";
import { Redis } from "ioredis";
import { spoolKeys } from "./keys.ts";
import { redisSpool, type Spool } from "./spool.ts";

let server: TestRedis;
let redis: Redis;
let spool: Spool;

before(async () => {
  server = await startRedis();
  redis = new Redis({ path: server.url.slice("unix://".length) });
  spool = redisSpool(redis);
});
after(async () => {
  redis.disconnect();
  await server.stop();
});

function manifestOf(id: string, body: Buffer): Manifest {
  const envelope = {
    from: "a@b",
    recipients: ["c@d"],
    smtputf8: false,
    body: null,
    helo: "h",
    protocol: "ESMTP",
    tls: null,
    user: null,
  };
  const sha256 = createHash("sha256").update(body).digest("hex");
  const client = { ip: "127.0.0.1", port: 1 };
  return {
    v: 1,
    id,
    receivedAt: 5,
    size: body.length,
    sha256,
    receivedFieldSize: 0,
    envelope: { ...envelope, client },
  };
}

async function collect(stream: NodeJS.ReadableStream): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

for (const size of [1, 1_000, 64_999, 65_000, 65_001, 130_000, 1_000_000]) {
  test(`a body of ${size} octets comes back as it was written, in one piece and as a stream`, async () => {
    const id = newMessageId();
    const body = randomBytes(size);
    const draft = spool.draft(id);
    for (let at = 0; at < size; at += 7_777) await draft.write(body.subarray(at, at + 7_777));
    await draft.commit(manifestOf(id, body), []);
    assert.deepEqual(await spool.read(id), body);
    assert.deepEqual(await collect(spool.open(id)), body);
    assert.deepEqual(await spool.manifest(id), manifestOf(id, body));
    assert.equal(await redis.ttl(spoolKeys(id).chunks), -1, "committed chunks must not expire");
    assert.equal(await redis.exists(spoolKeys(id).octets), 0);
  });
}

test("before the commit nothing exists, and what was written expires by itself", async () => {
  const id = newMessageId();
  const draft = spool.draft(id);
  await draft.write(randomBytes(200_000));
  assert.equal(await spool.manifest(id), undefined);
  assert.ok(!(await spool.list(1_000)).includes(id));
  for (const key of [spoolKeys(id).chunks, spoolKeys(id).octets]) assert.ok((await redis.ttl(key)) > 0, key);
});

test("an aborted body leaves nothing", async () => {
  const id = newMessageId();
  const draft = spool.draft(id);
  await draft.write(randomBytes(200_000));
  await draft.abort();
  assert.deepEqual(await redis.keys(`*${id}*`), []);
});

test("a chunk that got lost, or came twice, stops the commit", async () => {
  for (const damage of ["LPOP", "RPUSH"]) {
    const id = newMessageId();
    const body = randomBytes(200_000);
    const draft = spool.draft(id);
    await draft.write(body);
    await redis.call(damage, spoolKeys(id).chunks, ...(damage === "RPUSH" ? ["again"] : []));
    await assert.rejects(
      draft.commit(manifestOf(id, body), []),
      /SPOOL expected 4 chunks of 200000 octets, found [35] of/,
    );
    assert.equal(await spool.manifest(id), undefined);
  }
});

test("committing again under the same id changes nothing, and runs nothing alongside twice", async () => {
  const id = newMessageId();
  const body = randomBytes(100_000);
  const draft = spool.draft(id);
  await draft.write(body);
  const alongside = [["INCR", "millrace:{0}:test-counter"]] as const;
  await draft.commit(manifestOf(id, body), alongside);
  await draft.commit(manifestOf(id, body), alongside);
  assert.deepEqual(await spool.read(id), body);
  assert.equal(await redis.get("millrace:{0}:test-counter"), "1");
});

test("the commit survives a script cache that was flushed", async () => {
  await redis.script("FLUSH");
  const id = newMessageId();
  const draft = spool.draft(id);
  await draft.write(Buffer.from("x"));
  await draft.commit(manifestOf(id, Buffer.from("x")), []);
  assert.ok(await spool.has(id));
});

test("freeing takes body and parsed message, twice as well as once; the manifest stays", async () => {
  const id = newMessageId();
  const draft = spool.draft(id);
  await draft.write(Buffer.from("x"));
  await draft.commit(manifestOf(id, Buffer.from("x")), []);
  await spool.putParsed(id, emptyParsedMessage([{ code: "unparsed" }]));
  assert.equal((await spool.parsed(id))?.defects[0]?.code, "unparsed");
  await spool.free([id]);
  await spool.free([id]);
  assert.equal(await spool.parsed(id), undefined);
  await assert.rejects(spool.read(id), { code: "NOT_SPOOLED" });
  await assert.rejects(collect(spool.open(id)), { code: "NOT_SPOOLED" });
  assert.ok(await spool.manifest(id));
});

test("freeing several at once takes those and no other", async () => {
  const ids = Array.from({ length: 5 }, () => newMessageId());
  for (const id of ids) {
    const draft = spool.draft(id);
    await draft.write(Buffer.from("x"));
    await draft.commit(manifestOf(id, Buffer.from("x")), []);
    await spool.putParsed(id, emptyParsedMessage([]));
  }
  await spool.free(ids.slice(1, 4));
  const left = [ids[0], ids[4]];
  const isThere = async (check: (id: string) => Promise<boolean>) => {
    const found = await Promise.all(ids.map(check));
    return ids.filter((_, index) => found[index]);
  };
  assert.deepEqual(await isThere((id) => spool.has(id)), left);
  assert.deepEqual(await isThere(async (id) => (await spool.parsed(id)) !== undefined), left);
  const listed = new Set(await spool.list(1_000));
  assert.deepEqual(
    ids.filter((id) => listed.has(id)),
    left,
  );
  await spool.free([]);
});

test("a body that is freed while it is read does not look complete", async () => {
  const id = newMessageId();
  const body = randomBytes(1_000_000);
  const draft = spool.draft(id);
  await draft.write(body);
  await draft.commit(manifestOf(id, body), []);
  const stream = spool.open(id);
  await new Promise((resolve) => stream.once("readable", resolve));
  await spool.free([id]);
  await assert.rejects(collect(stream), { code: "NOT_SPOOLED" });
});

test("the backlog counts bodies and knows the oldest", async () => {
  const { messages, oldest } = await spool.backlog();
  assert.equal(messages, (await spool.list(1_000)).length);
  assert.ok(oldest && oldest > 1_000_000_000_000);
});
