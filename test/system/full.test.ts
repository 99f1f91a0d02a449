import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import type { MessageSummary } from "@millrace/mailstore";
import { patientRedis } from "@millrace/service";
import { Installation } from "../support/millrace.ts";
import { type Mail, mail, sendAll } from "../support/sender.ts";
import { SmtpDialogue } from "../support/smtp-dialogue.ts";
import { until } from "../support/until.ts";

interface Status {
  redis: { usedBytes: number; maxBytes: number; share: number; highMark: number; lowMark: number };
  disks: { name: string; folder: string; freeBytes: number; minFreeBytes: number }[];
  intake: { refusing: boolean; reasons: string[] };
  spool: { messages: number };
}

/** What the edge answers to MAIL right now. */
async function answerToMail(port: number): Promise<string> {
  const client = await SmtpDialogue.greeted(port);
  await client.send("MAIL FROM:<a@example.test>");
  const reply = await client.expect("");
  client.destroy();
  return reply;
}

/** A mail that is all text: its parsed copy is as large as itself. */
function textMail(name: string, octets: number): Mail {
  const { raw, ...rest } = mail(name, "box@example.test");
  const text = `${name} ${"wheel ".repeat(10)}\r\n`.repeat(octets / (name.length + 63));
  return { ...rest, raw: Buffer.concat([raw, Buffer.from(text)]) };
}

describe("a Redis that fills up because nothing is stored", () => {
  const millrace = new Installation({ env: { REDIS_MAX_MEMORY_MB: "48" } });
  before(() => millrace.up());
  after(() => millrace.remove());
  const status = () => millrace.json<Status>("status");

  test("452 to the senders; what was accepted reaches its end though they go on, and then they are let in", {
    timeout: 240_000,
  }, async () => {
    const [parse, store] = [millrace.pidOf("parse"), millrace.pidOf("store")];
    const mails = Array.from({ length: 400 }, (_, i) => textMail(`m${i}`, 120_000));
    // With nothing parsed yet the bodies alone fill Redis up to the mark, and each has a parsed copy to come.
    for (const pid of [parse, store]) process.kill(pid, "SIGSTOP");
    let sending: ReturnType<typeof sendAll> | undefined;
    try {
      sending = sendAll(millrace.port, mails, { deadline: 200_000 });
      await until(async () => (await status()).intake.refusing);
      await until(async () => /^452 4\.3\.1 /.test(await answerToMail(millrace.port)));
      const { redis, intake, spool } = await status();
      assert.equal(redis.maxBytes, 48 * 1_048_576);
      assert.match(intake.reasons.join(), /of maxmemory \(48 MiB\); the mark is 70 %/);
      assert.ok(spool.messages < mails.length, "not all of them were taken in");
      const text = (await millrace.run(["status"])).stdout.toString();
      assert.match(text, /refuses new mail with 452: Redis uses /);
      process.kill(parse, "SIGCONT");
      await until(() => /Redis is nearly full: waiting for the store/.test(millrace.output));
      await new Promise((resolve) => setTimeout(resolve, 3_000));
    } finally {
      for (const pid of [parse, store]) process.kill(pid, "SIGCONT");
    }
    const acknowledged = await sending;
    assert.equal(acknowledged.size, mails.length);
    const list = () => millrace.json<MessageSummary[]>("messages", "list", "--all");
    await until(async () => (await list()).every(({ state }) => state === "delivered"), 90_000);
    const stored = new Map((await list()).map(({ id, sha256 }) => [id, sha256]));
    for (const { name, raw } of mails) {
      const expected = createHash("sha256").update(raw).digest("hex");
      assert.equal(stored.get(acknowledged.get(name) ?? ""), expected, `${name} is there as it was sent`);
    }
    const redis = patientRedis(`unix://${join(millrace.folder, "var/redis/redis.sock")}`);
    try {
      // A moment's buffers may reach the end of so small a Redis, and each end of a run under way is then refused and
      // comes again, ever later; what waits for room must not: it would be refused thousands of times.
      const refused = Number(/^errorstat_OOM:count=(\d+)/m.exec(await redis.info("errorstats"))?.[1] ?? 0);
      assert.ok(refused < 200, `Redis itself refused ${refused} times`);
    } finally {
      redis.disconnect();
    }
    await until(async () => !(await status()).intake.refusing);
    assert.match(millrace.output, /refusing new mail with 452/);
  });
});

describe("a mail store whose disk has too little room", () => {
  const millrace = new Installation({ env: { STORE_MIN_FREE_MB: "1000000000" } });
  before(() => millrace.up());
  after(() => millrace.remove());

  test("452, and `millrace status` says which disk and how much is missing", async () => {
    await until(async () => /^452 4\.3\.1 /.test(await answerToMail(millrace.port)));
    const { disks, intake } = await millrace.json<Status>("status");
    assert.deepEqual(
      disks.map(({ name, folder }) => [name, folder]),
      [
        ["mail", join(millrace.folder, "var/mail")],
        ["redis", join(millrace.folder, "var/redis")],
      ],
    );
    assert.equal(intake.refusing, true);
    assert.match(intake.reasons.join(), /var\/mail has [\d,]+ MiB free; needed are 1,000,000,000 MiB/);
    assert.match(millrace.output, /free space on that disk, enlarge it, or lower STORE_MIN_FREE_MB/);
  });
});
