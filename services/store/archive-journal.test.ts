import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { newMessageId } from "@millrace/mail";
import { openMailStore } from "@millrace/mailstore";
import { journalTail } from "@millrace/pipeline/runtime";
import { createLogger, patientRedis } from "@millrace/service";
import { startDeadLine } from "@millrace/test/dead-line";
import { startRedis } from "@millrace/test/redis";
import { until } from "@millrace/test/until";
import { startArchiving } from "./archive-journal.ts";

test("a connection that dies without a word is made anew, and the journal goes on being archived", async () => {
  const server = await startRedis();
  const line = await startDeadLine(server.url);
  const direct = patientRedis(server.url);
  const folder = await mkdtemp(join(tmpdir(), "millrace-archive-"));
  const mailstore = openMailStore({ directory: folder });
  const stop = startArchiving(line.url, mailstore, createLogger("test", "silent"), { silentAfter: 2_000 });
  const append = async () => {
    const message = newMessageId();
    const entry = { message, at: Date.now(), event: "x", worker: "w", data: {} };
    await direct.xadd("millrace:{0}:journal", "*", "j", JSON.stringify(entry));
    await until(() => mailstore.journal(message).length > 0);
  };
  try {
    await append();
    line.die();
    await append();
  } finally {
    await stop();
    mailstore.close();
    direct.disconnect();
    await line.close();
    await server.stop();
    await rm(folder, { recursive: true });
  }
});

test("what was archived stays for somebody who follows the journal, until it is read", async () => {
  const server = await startRedis();
  const redis = patientRedis(server.url);
  const tail = journalTail(redis);
  const folder = await mkdtemp(join(tmpdir(), "millrace-archive-"));
  const mailstore = openMailStore({ directory: folder });
  const stop = startArchiving(server.url, mailstore, createLogger("test", "silent"));
  try {
    await tail.keepFor("somebody", "0-0");
    for (let i = 0; i < 5; i++) {
      const entry = { message: newMessageId(), at: Date.now(), event: "x", worker: "w", data: {} };
      await redis.xadd("millrace:{0}:journal", "*", "j", JSON.stringify(entry));
    }
    const newest = await tail.last();
    await until(() => mailstore.cursor() === newest);
    const entries = await tail.after("0-0", 10);
    assert.equal(entries.length, 5);
    await tail.keepFor("somebody", entries[2]?.seq ?? "");
    await until(async () => (await tail.length()) === 2);
    await tail.release("somebody");
    await until(async () => (await tail.length()) === 0);
  } finally {
    await stop();
    mailstore.close();
    redis.disconnect();
    await server.stop();
    await rm(folder, { recursive: true });
  }
});
