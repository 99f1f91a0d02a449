import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { newMessageId } from "@millrace/mail";
import { openMailStore } from "@millrace/mailstore";
import { createLogger, patientRedis } from "@millrace/service";
import { startDeadLine } from "@millrace/test/dead-line";
import { startRedis } from "@millrace/test/redis";
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
    for (const deadline = Date.now() + 30_000; mailstore.journal(message).length === 0; await sleep(20)) {
      assert.ok(Date.now() < deadline, "archived within 30 s");
    }
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
