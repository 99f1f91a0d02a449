import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { createServer } from "node:net";
import { join, resolve } from "node:path";
import { after, before, describe, test } from "node:test";
import { promisify } from "node:util";
import type { MessageSummary } from "@millrace/mailstore";
import { Installation } from "../support/millrace.ts";
import { startRedis } from "../support/redis.ts";
import { mail, sendAll } from "../support/sender.ts";
import { until } from "../support/until.ts";

describe("a newcomer's first minutes", () => {
  const millrace = new Installation();
  before(() => millrace.up());
  after(() => millrace.remove());

  const inbox = () => join(millrace.folder, "var/maildir/a@example.com/new");

  test("a message sent with swaks is in the recipient's Maildir, and every command tells of it", async () => {
    const started = performance.now();
    await promisify(execFile)("swaks", [
      ...["--to", "a@example.com", "--from", "b@example.net", "--server", `127.0.0.1:${millrace.port}`],
      ...["--header", "Subject: first", "--body", "the wheels turn"],
    ]);
    await until(() => existsSync(inbox()) && readdirSync(inbox()).length === 1);
    const took = performance.now() - started;
    assert.ok(took < 10_000, `took ${took} ms`);

    await until(async () => (await list())[0]?.state === "delivered");
    const [message] = await list();
    assert.ok(message);
    assert.equal(message.subject, "first");
    assert.deepEqual([message.from, message.to], ["b@example.net", ["a@example.com"]]);
    assert.deepEqual(message.defects, []);

    const original = (await millrace.run(["messages", "raw", message.id, "--original"])).stdout;
    assert.equal(createHash("sha256").update(original).digest("hex"), message.sha256);
    assert.equal(original.length, message.size);
    const raw = (await millrace.run(["messages", "raw", message.id])).stdout;
    assert.match(raw.toString(), /^Received: from /);
    assert.ok(raw.subarray(raw.length - original.length).equals(original));

    const [file] = readdirSync(inbox());
    const delivered = readFileSync(join(inbox(), file as string), "utf8");
    assert.match(delivered, /^Return-Path: <b@example.net>\r?\nDelivered-To: a@example.com\r?\nReceived: /);
    assert.ok(delivered.endsWith(raw.toString()));

    const trace = await millrace.json<{ steps: { event: string }[]; work: unknown[] }>("trace", message.id);
    const expected = ["message.received", "message.parsed", "message.stored", "delivery.succeeded"];
    assert.deepEqual(
      trace.steps.map(({ event }) => event),
      expected,
    );
    assert.deepEqual(trace.work, []);
    const shown = (await millrace.run(["messages", "show", message.id])).stdout.toString();
    for (const part of ["first", "a@example.com", "the wheels turn", "delivered", message.sha256]) {
      assert.ok(shown.includes(part), `messages show has ${part}`);
    }
    const found = await millrace.json<MessageSummary[]>("messages", "search", "wheels");
    assert.deepEqual(
      found.map(({ id }) => id),
      [message.id],
    );
    const status = await millrace.json<{ messages: Record<string, number> }>("status");
    const nothing = {
      ...{ received: 0, stored: 0, deferred: 0, delivered: 0, bounced: 0, failed: 0 },
      ...{ quarantined: 0, discarded: 0 },
    };
    assert.deepEqual(status.messages, { ...nothing, delivered: 1 });
  });

  const list = () => millrace.json<MessageSummary[]>("messages", "list");

  test("millrace send works without a word of configuration", async () => {
    const { stdout, status } = await millrace.run(["send", "--to", "a@example.com"], {
      SMTP_PORT: String(millrace.port),
    });
    assert.equal(status, 0);
    assert.match(stdout.toString(), /^250 2\.0\.0 Ok: queued as /);
  });

  test("a worker of one's own gets every message from its first start on, also those of its absence", async () => {
    const file = resolve(import.meta.dirname, "../fixtures/count-words.ts");
    const send = (text: string) =>
      millrace.run(["send", "--to", "words@example.com", "--text", text], {
        SMTP_PORT: String(millrace.port),
      });
    const counted = (output: string) =>
      [...output.matchAll(/"words":(\d+)/g)].map(([, words]) => Number(words));

    const first = millrace.start(["worker", file]);
    await until(() => first.output().includes('"msg":"ready"'));
    await send("one two three");
    await until(() => counted(first.output()).length === 1);
    await first.stop();
    await send("four five six seven");
    const second = millrace.start(["worker", file]);
    await until(() => counted(second.output()).length === 1);
    await second.stop();
    assert.deepEqual([counted(first.output()), counted(second.output())], [[3], [4]]);
    const wrong = await millrace.run(["worker", "./no-such-worker.ts"]);
    assert.match(
      wrong.stderr,
      /no-such-worker.ts is neither a built-in worker \(parse, store, deliver\) nor a file/,
    );
    assert.notEqual(wrong.status, 0);
  });

  test("a second `up` in the same folder says who is there", async () => {
    const { stderr, status } = await millrace.run(["up"]);
    assert.equal(status, 69);
    assert.match(stderr, /MILLRACE_DATA_DIR=.* is in use by another `millrace up` \(pid \d+\)/);
  });

  test("Ctrl-C ends all of it, and the next start finds all mail", async () => {
    const before = await list();
    const redis = millrace.pidOf("redis");
    assert.equal(await millrace.down("SIGINT"), 0);
    assert.throws(() => process.kill(redis, 0), "redis is still running");
    const { stderr } = await millrace.run(["messages", "list"]);
    assert.match(stderr, /no Redis answers/);
    await millrace.up("--edges", "3");
    assert.equal(new Set(millrace.ports).size, 3);
    for (const port of millrace.ports) {
      await sendAll(port, [
        { name: `to ${port}`, to: ["a@example.com"], raw: Buffer.from(`Subject: to ${port}\r\n\r\n`) },
      ]);
    }
    await until(
      async () => (await list()).filter(({ state }) => state === "delivered").length === before.length + 3,
    );
  });

  test("an `up` that was killed leaves nothing behind that the next one cannot take over", async () => {
    const before = (await list()).length;
    await millrace.down("SIGKILL");
    await millrace.up();
    assert.match(millrace.output, /took over the redis that was left running/);
    assert.equal((await list()).length, before);
  });
});

test("whoever read its output may go away: it works on, and ends in order", async () => {
  const millrace = new Installation();
  try {
    await millrace.up();
    millrace.stopListening();
    // It has something to say about this.
    await millrace.killAndAwaitSuccessor("parse");
    await sendAll(millrace.port, [mail("unheard", "a@example.com")]);
    assert.equal(await millrace.down(), 0);
    assert.throws(() => millrace.pidOf("redis"), /no process redis/);
  } finally {
    await millrace.remove();
  }
});

describe("what is wrong is said in one line, with the key, the value and the cure", () => {
  test("a port in use", async () => {
    const blocker = createServer().listen(0, "127.0.0.1");
    await new Promise((resolve) => blocker.once("listening", resolve));
    const { port } = blocker.address() as { port: number };
    const millrace = new Installation({ env: { SMTP_PORT: String(port) } });
    try {
      const { stderr, status } = await millrace.run(["up"]);
      assert.notEqual(status, 0);
      assert.match(stderr, new RegExp(`SMTP_PORT=${port} .*in use`));
      assert.throws(() => millrace.pidOf("redis"), "redis is left running");
    } finally {
      blocker.close();
      await millrace.remove();
    }
  });

  test("edges whose ports would meet", async () => {
    const millrace = new Installation({
      config: { listeners: [{ port: 20_525 }, { port: 20_526, name: "second" }] },
    });
    const { stderr, status } = await millrace.run(["up", "--edges", "2"]);
    assert.notEqual(status, 0);
    assert.match(
      stderr,
      /--edges 2: listeners\[0\]\.port=20525: edge 1 of 2 has 20526 as its listeners\[1\]\.port; keep 2 ports free/,
    );
    assert.throws(() => millrace.pidOf("redis"), "redis is left running");
    await millrace.remove();
  });

  test("a broken configuration", async () => {
    const millrace = new Installation({
      config: { routes: [{ recipients: "*", to: { maildr: "x" } }] },
      env: { SMTP_MAX_HOPS: "many" },
    });
    const { stderr, status } = await millrace.run(["up"]);
    assert.equal(status, 78);
    assert.match(stderr, /routes\[0\]\.to\[0\] = .*a target is one of/);
    assert.match(
      stderr,
      /SMTP_MAX_HOPS="many" is not allowed: give a whole number, 1 to 10000, or leave it out for 100/,
    );
    await millrace.remove();
  });

  test("a Redis without durability, and no Redis at all", async () => {
    const redis = await startRedis(["--appendfsync", "everysec"]);
    const millrace = new Installation({ env: { REDIS_URL: redis.url } });
    const { stderr, status } = await millrace.run(["up"]);
    assert.notEqual(status, 0);
    assert.match(stderr, /REDIS_URL=.*appendfsync=everysec.*CONFIG SET appendfsync always/);
    await redis.stop();
    const gone = await millrace.run(["up"]);
    assert.notEqual(gone.status, 0);
    assert.match(gone.stderr, /REDIS_URL=.*no Redis answers there/);
    await millrace.remove();
  });
});
