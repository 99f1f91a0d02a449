import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import type { MessageSummary } from "@millrace/mailstore";
import { Installation } from "../support/millrace.ts";
import { sendAll } from "../support/sender.ts";
import { until } from "../support/until.ts";

interface Summary {
  messages: number;
  octets: number;
  complete: boolean;
  routes: { recipients: string[]; messages: number }[];
}

describe("mail that its route keeps no longer", () => {
  const millrace = new Installation({
    config: {
      routes: [
        { recipients: "*@short.test", keep: { megabytes: 0.05 }, to: { maildir: "./boxes/{recipient}" } },
        { recipients: "*", to: { maildir: "./boxes/{recipient}" } },
      ],
    },
  });
  before(() => millrace.up());
  after(() => millrace.remove());

  const list = () => millrace.json<MessageSummary[]>("messages", "list", "--all");
  const send = async (to: string, count: number) => {
    const raw = Buffer.from(`Subject: ${to}\r\n\r\n${`${"x".repeat(98)}\r\n`.repeat(100)}`);
    const mails = Array.from({ length: count }, (_, n) => ({ name: `${to} ${n}`, to: [to], raw }));
    await sendAll(millrace.port, mails, { connections: 1 });
    await until(async () => (await list()).every(({ state }) => state === "delivered"));
  };

  test("is removed by command, the oldest first, and what is kept for ever stays", async () => {
    await send("a@short.test", 10);
    await send("a@long.test", 10);
    const before = await list();
    const dry = await millrace.json<Summary>("retain", "--dry-run");
    assert.deepEqual([dry.messages, (await list()).length], [6, 20]);
    const summary = await millrace.json<Summary>("retain");
    assert.deepEqual([summary.messages, summary.complete], [6, true]);
    assert.deepEqual(
      summary.routes.map(({ recipients, messages }) => [recipients, messages]),
      [[["*@short.test"], 6]],
    );
    const left = new Set((await list()).map(({ id }) => id));
    const short = before.filter(({ to }) => to[0] === "a@short.test");
    const [kept, gone] = [short.filter(({ id }) => left.has(id)), short.filter(({ id }) => !left.has(id))];
    assert.deepEqual([left.size, kept.length], [14, 4]);
    for (const { receivedAt } of gone) assert.ok(kept.every((each) => each.receivedAt >= receivedAt));
    assert.match((await millrace.run(["retain"])).stdout.toString(), /0 messages removed/);
  });

  test("is removed by `up` without being asked", async () => {
    await send("b@short.test", 5);
    assert.equal((await list()).length, 19);
    await millrace.down();
    await millrace.up();
    await until(async () => (await list()).length === 14);
  });
});

test("a folder without a mail store, or without a Redis, is said to be one", async () => {
  const millrace = new Installation();
  const { stderr, status } = await millrace.run(["retain"]);
  assert.equal(status, 1);
  assert.match(stderr, /there is no mail store in .*: run this where `millrace up` runs/);
  await millrace.up();
  await millrace.down();
  const { stderr: offline, status: unavailable } = await millrace.run(["retain"]);
  assert.equal(unavailable, 69);
  assert.match(offline, /no Redis answers .*start one with `millrace up`/);
  await millrace.remove();
});
