import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { afterEach, beforeEach, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { patientRedis } from "@millrace/service";
import { startRedis, type TestRedis } from "@millrace/test/redis";
import type { SmtpDialogue } from "@millrace/test/smtp-dialogue";
import { beginMessage, startTestEdge, type TestEdge, type TestEdgeOptions } from "./testing/test-edge.ts";

let redis: TestRedis;
let edge: TestEdge;
beforeEach(async () => {
  redis = await startRedis();
});
afterEach(async () => {
  redis.thaw();
  await edge?.end();
  await redis.stop();
});

async function start(options: TestEdgeOptions = {}): Promise<SmtpDialogue> {
  edge = await startTestEdge(redis.url, options);
  return edge.client();
}

/** Seconds `work` takes. */
async function seconds(work: Promise<unknown>): Promise<number> {
  const started = performance.now();
  await work;
  return (performance.now() - started) / 1_000;
}

async function eventually(condition: () => boolean | Promise<boolean>, what: string): Promise<void> {
  for (const started = performance.now(); performance.now() - started < 15_000; await sleep(20)) {
    if (await condition()) return;
  }
  assert.fail(`it never came about that ${what}`);
}

/** Sends small messages until one is accepted, as a sending server would. */
async function acceptsAgain(): Promise<void> {
  await eventually(async () => {
    const client = await edge.client();
    try {
      await client.send("MAIL FROM:<a@example.org>");
      if (/^45[12] 4\.3\.[01] /.test(await client.expect(""))) return false;
      await client.send("RCPT TO:<user@example.com>", "DATA");
      await client.expect("250 2.1.5 ");
      await client.expect("354 ");
      await client.send("again", ".");
      const reply = await client.expect("");
      if (!reply.startsWith("250 ")) return false;
      assert.equal((await edge.stored(reply)).own, "again\r\n");
      return true;
    } finally {
      client.destroy();
    }
  }, "mail is accepted again");
}

/** A body of clean lines, `octets` long. */
function bodyOf(octets: number): Buffer {
  const line = `${randomBytes(37).toString("hex")}\r\n`;
  return Buffer.from(line.repeat(Math.ceil(octets / line.length)));
}

const messages = async () => (await edge.spool.backlog()).messages;
const refused = (status: string) =>
  edge.log.find(({ msg, reason }) => msg === "refused" && String(reason).startsWith(status));

test("a message of 25 MB is stored as it came", async () => {
  const client = await start();
  const body = bodyOf(25_000_000);
  await beginMessage(client);
  await client.write(body);
  await client.write(".\r\n");
  const { manifest, own } = await edge.stored(await client.expect("250 2.0.0 "));
  assert.equal(manifest.size, body.length);
  const sha256 = createHash("sha256").update(body).digest("hex");
  assert.equal(manifest.sha256, sha256);
  assert.equal(createHash("sha256").update(Buffer.from(own, "latin1")).digest("hex"), sha256);
  client.destroy();
});

test("fifty clients with large messages take turns, and each message is stored as it came", async () => {
  (await start()).destroy();
  const bodies = Array.from({ length: 50 }, () => bodyOf(300_000));
  const replies = await Promise.all(
    bodies.map(async (body) => {
      const client = await edge.client();
      await beginMessage(client);
      await client.write(body);
      await client.write(".\r\n");
      const reply = await client.expect("250 2.0.0 ");
      client.destroy();
      return reply;
    }),
  );
  for (const [n, reply] of replies.entries()) {
    assert.equal((await edge.stored(reply)).own, bodies[n]?.toString("latin1"));
  }
});

test("Redis dead: MAIL is refused at once, and accepted again when Redis is back", async () => {
  const client = await start();
  await redis.kill();
  await eventually(() => edge.intake.unavailable() !== undefined, "the loss is noticed");
  await client.send("MAIL FROM:<a@example.org>");
  assert.ok((await seconds(client.expect("451 4.3.0 "))) < 5);
  assert.ok(edge.log.some(({ level, msg }) => level === 40 && msg === "refusing mail for now"));
  client.destroy();
  await redis.start();
  await acceptsAgain();
  assert.ok(edge.log.some(({ msg }) => msg === "accepting mail again"));
});

test("case 55: Redis dies before the commit: 451, and nothing is stored", async () => {
  const client = await start();
  await beginMessage(client);
  await redis.kill();
  await client.send("Subject: x", "", "x", ".");
  assert.ok((await seconds(client.expect("451 4.3.0 Temporary failure, try again later"))) < 5);
  const line = refused("4.3.0");
  assert.ok(line?.message && line.err && line.level === 40);
  await redis.start();
  await acceptsAgain();
  assert.equal(await messages(), 1);
  client.destroy();
});

test("case 55: Redis dies after the 250: the message is there", async () => {
  const client = await start();
  const body = bodyOf(300_000);
  await beginMessage(client);
  await client.write(body);
  await client.write(".\r\n");
  const reply = await client.expect("250 2.0.0 ");
  await redis.kill();
  await redis.start();
  const { manifest, own } = await edge.stored(reply);
  assert.equal(own, body.toString("latin1"));
  assert.equal(manifest.sha256, createHash("sha256").update(body).digest("hex"));
  client.destroy();
});

test("Redis dies in the middle of a message: 451 after the final dot, and the connection goes on", async () => {
  const client = await start();
  await beginMessage(client);
  await client.write(bodyOf(400_000));
  await redis.kill();
  await client.write(bodyOf(400_000));
  await client.write(".\r\n");
  assert.ok((await seconds(client.expect("451 4.3.0 "))) < 5);
  await client.send("NOOP");
  await client.expect("250 2.0.0 ");
  await redis.start();
  await acceptsAgain();
  assert.equal(await messages(), 1);
  client.destroy();
});

test("a client that goes on and on with a message that is lost is cut off", async () => {
  const client = await start();
  await beginMessage(client);
  await client.write(bodyOf(200_000));
  await redis.kill();
  const chunk = bodyOf(100_000);
  let sent = 0;
  while (sent < 40_000_000 && (await client.write(chunk))) sent += chunk.length;
  assert.ok(sent < 40_000_000, "the edge went on reading");
  await client.expect("421 4.3.0 ");
  await client.expectClosed();
});

test("Redis frozen at the commit: 451 within 15 s, and mail is accepted again after the thaw", async () => {
  const client = await start();
  await beginMessage(client);
  redis.freeze();
  await client.send("x", ".");
  assert.ok((await seconds(client.expect("451 4.3.0 ", 20_000))) < 15);
  await eventually(() => edge.intake.unavailable() !== undefined, "the silence is noticed");
  await client.send("MAIL FROM:<a@example.org>");
  assert.ok((await seconds(client.expect("451 4.3.0 "))) < 1);
  redis.thaw();
  await acceptsAgain();
  client.destroy();
});

test("Redis frozen in the middle of a message: 451 within 15 s, and mail again after the thaw", async () => {
  const client = await start();
  await beginMessage(client);
  await client.write(bodyOf(200_000));
  redis.freeze();
  const rest = client.write(bodyOf(400_000)).then(() => client.write(".\r\n"));
  assert.ok((await seconds(client.expect("451 4.3.0 ", 20_000))) < 15);
  await rest;
  redis.thaw();
  await acceptsAgain();
  client.destroy();
});

test("Redis full: 452, and nothing of the message stays", async () => {
  await redis.stop();
  redis = await startRedis(["--maxmemory", "6mb"]);
  const client = await start();
  await beginMessage(client);
  await client.write(bodyOf(12_000_000));
  // Far more than is drained of a lost message: either the reply to it, or the end of the connection.
  await client.write(".\r\n");
  await client.expect("421 4.3.1 ");
  await acceptsAgain();
  await eventually(async () => (await draftKeys()) === 0, "the drafts are gone");
});

test("a client that leaves before the final dot leaves nothing behind", async () => {
  const client = await start();
  await beginMessage(client);
  await client.write(bodyOf(500_000));
  await eventually(async () => (await draftKeys()) > 0, "the body is being spooled");
  client.destroy();
  await eventually(() => edge.log.some(({ msg }) => msg === "abandoned"), "the edge notices");
  await eventually(async () => (await draftKeys()) === 0, "the draft is gone");
  assert.equal(await messages(), 0);
});

test("case 56: a client leaves between the final dot and the 250: the message is there as a whole, or not", async () => {
  (await start()).destroy();
  const body = bodyOf(200_000);
  const sha256 = createHash("sha256").update(body).digest("hex");
  for (let wait = 0; wait < 10; wait++) {
    const client = await edge.client();
    await beginMessage(client);
    await client.write(body);
    await client.write(".\r\n");
    await sleep(wait);
    client.destroy();
  }
  const settled = () => edge.log.filter(({ msg }) => msg === "accepted" || msg === "abandoned").length;
  await eventually(() => settled() === 10, "every message is accepted or given up");
  const ids = await edge.spool.list(20);
  assert.equal(ids.length, edge.log.filter(({ msg }) => msg === "accepted").length);
  for (const id of ids) {
    const manifest = await edge.spool.manifest(id);
    const stored = (await edge.spool.read(id)).subarray(manifest?.receivedFieldSize);
    assert.equal(manifest?.sha256, sha256);
    assert.equal(createHash("sha256").update(stored).digest("hex"), sha256);
  }
});

test("a commit that takes too long is answered 451 at its deadline, and 250 is never said after it", async () => {
  let finish: () => void = () => {};
  const client = await start({
    env: { SMTP_COMMIT_TIMEOUT_SECONDS: "1" },
    around: (intake) => ({
      ...intake,
      accept: async (draft, manifest) => {
        await new Promise<void>((resolve) => {
          finish = resolve;
        });
        await intake.accept(draft, manifest);
      },
    }),
  });
  await beginMessage(client);
  await client.send("x", ".");
  const took = await seconds(client.expect("451 4.3.0 "));
  assert.ok(took > 0.9 && took < 5, `answered after ${took} s`);
  finish();
  await eventually(
    () => edge.log.some(({ level, msg }) => level === 40 && String(msg).startsWith("accepted after")),
    "the late commit is logged",
  );
  await client.send("NOOP");
  await client.expect("250 2.0.0 OK");
  client.destroy();
});

test("a write that does not end is answered 451 at the deadline after the final dot", async () => {
  const client = await start({
    env: { SMTP_COMMIT_TIMEOUT_SECONDS: "1" },
    around: (intake) => ({
      ...intake,
      draft: (id) => {
        const draft = intake.draft(id);
        return {
          id,
          write: () => new Promise<void>(() => {}),
          commit: (manifest, alongside) => draft.commit(manifest, alongside),
          abort: () => draft.abort(),
        };
      },
    }),
  });
  await beginMessage(client);
  await client.write(bodyOf(20_000));
  await client.write(".\r\n");
  const took = await seconds(client.expect("451 4.3.0 "));
  assert.ok(took > 0.9 && took < 5, `answered after ${took} s`);
  await client.send("NOOP");
  await client.expect("250 2.0.0 OK");
  client.destroy();
});

/** Bodies in the spool that no manifest belongs to. */
async function draftKeys(): Promise<number> {
  const probe = patientRedis(redis.url);
  try {
    return (await probe.keys("millrace:*:octets:*")).length;
  } finally {
    probe.disconnect();
  }
}
