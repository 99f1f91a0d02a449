import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import type { MessageSummary } from "@millrace/mailstore";
import { corpus } from "../support/corpus.ts";
import { Installation } from "../support/millrace.ts";
import { startRedis, type TestRedis } from "../support/redis.ts";
import { type Acknowledged, type Mail, mail, sendAll } from "../support/sender.ts";
import { SmtpDialogue } from "../support/smtp-dialogue.ts";
import { until } from "../support/until.ts";

const sha256 = (octets: Buffer) => createHash("sha256").update(octets).digest("hex");

/** The mails of one recipient's Maildir, each without the two lines the delivery has put first. */
function maildir(millrace: Installation, recipient: string): Buffer[] {
  const folder = join(millrace.folder, "var/maildir", recipient, "new");
  if (!existsSync(folder)) return [];
  return readdirSync(folder).map((name) => readFileSync(join(folder, name)));
}

/** Which message a delivered mail is: our Received field names it. */
function idOf(delivered: Buffer): string {
  return /^Received: [\s\S]*?\sid ([0-9a-z]{26})/m.exec(delivered.toString("latin1"))?.[1] ?? "(none)";
}

/** What was acknowledged is stored, each once, and delivered to each recipient once. */
async function assertAllThere(
  millrace: Installation,
  mails: readonly Mail[],
  acknowledged: Acknowledged,
): Promise<void> {
  const list = () => millrace.json<MessageSummary[]>("messages", "list", "--all");
  const open = async () => (await list()).filter(({ state }) => state !== "delivered");
  await until(async () => (await open()).length === 0, 90_000);
  const stored = new Map<string, MessageSummary>();
  for (const message of await list()) {
    assert.ok(!stored.has(message.id), `${message.id} is stored twice`);
    stored.set(message.id, message);
  }
  const expected = new Map<string, string[]>();
  for (const { name, raw, to } of mails) {
    const id = acknowledged.get(name);
    assert.ok(id, `${name} was not acknowledged`);
    assert.equal(stored.get(id)?.sha256, sha256(raw), `${name} is not what was sent`);
    for (const recipient of to) expected.set(recipient, [...(expected.get(recipient) ?? []), id]);
  }
  for (const [recipient, ids] of expected) {
    const delivered = maildir(millrace, recipient).map(idOf);
    assert.equal(new Set(delivered).size, delivered.length, `${recipient} has a mail twice`);
    const missing = ids.filter((id) => !delivered.includes(id));
    assert.deepEqual(missing, [], `${recipient} has not got everything`);
  }
}

describe("real messages", {
  skip: corpus().length === 0 && "there is no corpus beside the workspace",
}, () => {
  const millrace = new Installation();
  before(() => millrace.up());
  after(() => millrace.remove());

  test("200 of them at once: all there, octet for octet, each delivered once", async () => {
    const files = corpus();
    const mails = Array.from({ length: 200 }, (_, i): Mail => {
      const { name, raw } = files[i % files.length] as (typeof files)[number];
      const whole = raw.subarray(-2).toString() === "\r\n" ? raw : Buffer.concat([raw, Buffer.from("\r\n")]);
      return { name: `${i} ${name}`, to: [`box${i % 7}@example.test`], raw: whole };
    });
    const acknowledged = await sendAll(millrace.port, mails, { connections: 20 });
    await assertAllThere(millrace, mails, acknowledged);
  });
});

describe("kill -9 under load", () => {
  const millrace = new Installation();
  before(() => millrace.up());
  after(() => millrace.remove());

  test("of each service in turn, and of Redis: what was acknowledged is there, once", {
    timeout: 240_000,
  }, async () => {
    const mails = Array.from({ length: 2_000 }, (_, i) => mail(`load-${i}`, `box${i % 20}@example.test`));
    const sending = sendAll(millrace.port, mails);
    for (const name of ["parse", "store", "deliver", "edge", "redis", "store", "deliver", "edge"]) {
      await millrace.killAndAwaitSuccessor(name);
      await new Promise((resolve) => setTimeout(resolve, 300));
    }
    await assertAllThere(millrace, mails, await sending);
    for (const name of ["edge", "parse", "store", "deliver"])
      assert.match(millrace.output, new RegExp(`${name} ended \\(SIGKILL\\)`));
  });
});

describe("a Redis that is away", () => {
  let redis: TestRedis;
  let millrace: Installation;
  before(async () => {
    redis = await startRedis();
    millrace = new Installation({ env: { REDIS_URL: redis.url } });
    await millrace.up();
  });
  after(async () => {
    await millrace.remove();
    await redis.stop();
  });

  for (const [how, within, away, back] of [
    ["stopped", 5_000, () => redis.kill(), () => redis.start()],
    ["frozen", 15_000, async () => redis.freeze(), async () => redis.thaw()],
  ] as const) {
    test(`${how}: 451 within ${within / 1_000} s, and everything goes on by itself when it is back`, async () => {
      const client = await SmtpDialogue.greeted(millrace.port);
      await away();
      const started = Date.now();
      // Depending on what the edge has seen by then, the refusal comes at MAIL or after the final dot.
      await client.send("MAIL FROM:<a@example.test>");
      let reply = await client.expect("");
      if (reply.startsWith("250")) {
        await client.send(`RCPT TO:<box-${how}@example.test>`, "DATA");
        await client.expect("250 2.1.5");
        await client.expect("354");
        await client.send("Subject: x", "", "x", ".");
        reply = await client.expect("");
      }
      assert.match(reply, /^451 4\.3\.0 /);
      assert.ok(Date.now() - started < within, `${Date.now() - started} ms`);
      client.destroy();
      await back();
      const mails = [mail(`after-${how}`, `box-${how}@example.test`)];
      await assertAllThere(millrace, mails, await sendAll(millrace.port, mails));
    });
  }
});
