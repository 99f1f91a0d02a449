import assert from "node:assert/strict";
import { rm } from "node:fs/promises";
import { connect, createServer, type Server, type Socket } from "node:net";
import { after, before, test } from "node:test";
import type { MessageId } from "@millrace/mail";
import { createLogger, patientRedis } from "@millrace/service";
import { manifestOf } from "@millrace/test/message";
import { startRedis, type TestRedis } from "@millrace/test/redis";
import { until } from "@millrace/test/until";
import type { Redis } from "ioredis";
import type { Intake } from "./intake.ts";
import { openIntake } from "./open-intake.ts";
import { openSubscriptions } from "./subscriptions.ts";

const log = createLogger("test", "silent");
let server: TestRedis;
let direct: Redis;
let proxy: ReplyDropper;
let intake: Intake;

/** Stands between the intake and Redis, and can swallow the reply to a command and cut the connection. */
interface ReplyDropper {
  url: string;
  /** The next command that contains this text is passed on, and its reply is not. */
  dropReplyTo(text: string): void;
  close(): Promise<void>;
}

async function startProxy(url: string): Promise<ReplyDropper> {
  const path = url.slice("unix://".length);
  const front = `${path}.proxy`;
  let wanted: string | undefined;
  const sockets = new Set<Socket>();
  const listener: Server = createServer((client) => {
    const upstream = connect(path);
    let dropping = false;
    for (const socket of [client, upstream]) {
      sockets.add(socket);
      socket.on("error", () => {});
      socket.on("close", () => {
        client.destroy();
        upstream.destroy();
        sockets.delete(socket);
      });
    }
    client.on("data", (data) => {
      if (wanted && data.includes(wanted)) {
        wanted = undefined;
        dropping = true;
      }
      upstream.write(data);
    });
    upstream.on("data", (data) => (dropping ? client.destroy() : client.write(data)));
  });
  await new Promise<void>((resolve) => listener.listen(front, resolve));
  return {
    url: `unix://${front}`,
    dropReplyTo: (text) => {
      wanted = text;
    },
    async close() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => listener.close(resolve));
      await rm(front, { force: true });
    },
  };
}

before(async () => {
  server = await startRedis();
  direct = patientRedis(server.url);
  const subscriptions = await openSubscriptions(direct);
  await subscriptions.register({ name: "w", on: ["message.received"] });
  subscriptions.close();
  proxy = await startProxy(server.url);
  intake = await openIntake(proxy.url, log);
});
after(async () => {
  await intake.close();
  await proxy.close();
  direct.disconnect();
  await server.stop();
});

async function accept(): Promise<MessageId> {
  const body = Buffer.from("Subject: x\r\n\r\n");
  const manifest = manifestOf(body);
  const draft = intake.draft(manifest.id);
  await draft.write(body);
  await intake.accept(draft, manifest);
  return manifest.id;
}

test("a commit whose reply is lost is asked for again, and the message is there once", async () => {
  proxy.dropReplyTo("millrace:{0}:manifest:");
  const id = await accept();
  assert.equal(await direct.llen(`millrace:{0}:chunks:${id}`), 1);
  assert.equal(await direct.hlen(`millrace:{0}:work:${id}`), 1);
  const journal = await direct.xrange("millrace:{0}:journal", "-", "+");
  assert.equal(journal.filter(([, fields]) => fields.join().includes(id)).length, 1);
});

test("a frozen Redis is a refusal within ten seconds, seen beforehand soon after, and over when it thaws", async () => {
  await until(() => intake.unavailable() === undefined);
  server.freeze();
  const started = Date.now();
  try {
    await assert.rejects(accept());
    assert.ok(Date.now() - started < 10_000, `${Date.now() - started} ms`);
    await until(() => intake.unavailable() !== undefined);
  } finally {
    server.thaw();
  }
  await until(() => intake.unavailable() === undefined);
  await accept();
});

test("a dead Redis is a refusal at once, and over when it is back with all it had", async () => {
  const id = await accept();
  await server.kill();
  const started = Date.now();
  await assert.rejects(accept());
  assert.ok(Date.now() - started < 4_000, `${Date.now() - started} ms`);
  await until(() => intake.unavailable()?.reason === "Redis is not connected");
  await server.start();
  await until(() => intake.unavailable() === undefined);
  assert.equal(await direct.llen(`millrace:{0}:chunks:${id}`), 1);
  await accept();
});

test("a Redis that would not keep what it acknowledges is refused, before and after the start", async () => {
  await direct.config("SET", "appendfsync", "everysec");
  await assert.rejects(openIntake(server.url, log), /appendfsync=everysec.*CONFIG SET appendfsync always/);
  await direct.call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes");
  await until(() => /appendfsync/.test(intake.unavailable()?.reason ?? ""));
  await direct.config("SET", "appendfsync", "always");
});

test("no Redis at all is said in one line with the cure", async () => {
  await assert.rejects(
    openIntake("unix:///nowhere.sock", log),
    /REDIS_URL: no Redis answers there; .*millrace up/,
  );
});
