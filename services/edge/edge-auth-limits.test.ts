import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { startRedis, type TestRedis } from "@millrace/test/redis";
import { SmtpDialogue } from "@millrace/test/smtp-dialogue";
import { startTestEdge, type TestEdge, type TestEdgeOptions } from "./testing/test-edge.ts";
import { addUsers, authenticate } from "./testing/users.ts";

let redis: TestRedis;
before(async () => {
  redis = await startRedis();
  await addUsers(redis.url, {
    ann: { password: "ann's" },
    bob: { password: "bob's" },
    eve: { password: "eve's" },
  });
});
after(() => redis?.stop());

async function edges(
  t: { after(end: () => Promise<void>): void },
  env: Record<string, string>,
  count = 1,
  options: TestEdgeOptions = {},
): Promise<TestEdge[]> {
  const all: TestEdge[] = [];
  for (let i = 0; i < count; i++) {
    all.push(
      await startTestEdge(redis.url, {
        ...options,
        env: {
          ...{ SMTP_ENABLE_AUTH: "true", SMTP_TLS_MODE: "proxy", SMTP_PROXY_PROTOCOL_FROM: "127.0.0.1" },
          ...env,
        },
      }),
    );
  }
  t.after(async () => void (await Promise.all(all.map((edge) => edge.end()))));
  return all;
}

/** A client at this address, by the word of the proxy. */
async function from(address: string, edge: TestEdge): Promise<SmtpDialogue> {
  const client = await SmtpDialogue.connect(edge.port);
  await client.write(`PROXY TCP4 ${address} 192.0.2.25 4000 465\r\n`);
  await client.expect("220 ");
  await client.send("EHLO client.example");
  await client.expect("250");
  return client;
}

test("an address: 535 up to the limit, at all edges together; then 421, the right password or not", async (t) => {
  const [one, other] = (await edges(t, { SMTP_AUTH_FAILURES_PER_CLIENT: "4" }, 2)) as [TestEdge, TestEdge];
  const address = "198.51.100.1";
  for (const edge of [one, other]) {
    const client = await from(address, edge);
    await authenticate(client, "ann", "wrong", "535 5.7.8 ");
    await authenticate(client, "nobody", "wrong", "535 5.7.8 ");
    client.destroy();
  }
  for (const [name, password] of [
    ["bob", "wrong"],
    ["bob", "bob's"],
    ["nobody", "x"],
  ] as const) {
    const client = await from(address, other);
    await authenticate(client, name, password, "421 4.7.0 Too many failed authentications");
    await client.expectClosed();
  }
  const elsewhere = await from("198.51.100.2", one);
  await authenticate(elsewhere, "bob", "bob's");
  // Who cannot authenticate may still bring mail.
  const mx = await from(address, one);
  await mx.send("MAIL FROM:<a@example.org>", "RCPT TO:<user@example.com>");
  await mx.expect("250 2.1.0");
  await mx.expect("250 2.1.5");
  for (const client of [elsewhere, mx]) client.destroy();
});

test("a user: failures from many addresses count together, and success begins anew", async (t) => {
  const [edge] = (await edges(t, { SMTP_AUTH_FAILURES_PER_USER: "3" })) as [TestEdge];
  const attempt = async (last: number, password: string, reply: string) => {
    const client = await from(`203.0.113.${last}`, edge);
    await authenticate(client, "bob", password, reply);
    client.destroy();
  };
  for (const i of [1, 2]) await attempt(i, "wrong", "535 ");
  await attempt(3, "bob's", "235 ");
  for (const i of [4, 5, 6]) await attempt(i, "wrong", "535 ");
  await attempt(7, "wrong", "421 4.7.0 ");
  await attempt(8, "bob's", "421 4.7.0 ");
  for (const i of [11, 12, 13]) {
    const client = await from(`203.0.113.${i}`, edge);
    await authenticate(client, "no such user", "wrong", "535 ");
    client.destroy();
  }
  // A name that nobody has is limited as well: it tells nothing.
  const client = await from("203.0.113.14", edge);
  await authenticate(client, "no such user", "wrong", "421 ");
});

test("many attempts at once: no more of them are made than the limit and the turns allow", async (t) => {
  const [edge] = (await edges(t, { SMTP_AUTH_FAILURES_PER_CLIENT: "5" })) as [TestEdge];
  const clients = await Promise.all(Array.from({ length: 30 }, () => from("198.51.100.40", edge)));
  const replies = await Promise.all(
    clients.map(async (client) => {
      await client.send("AUTH LOGIN YW5u", "d3Jvbmc=");
      await client.expect("334 ");
      return (await client.expect("")).slice(0, 3);
    }),
  );
  const made = replies.filter((code) => code === "535").length;
  assert.ok(made >= 5 && made <= 7, `${made} attempts were made: ${replies}`);
  assert.equal(replies.filter((code) => code === "421").length, 30 - made);
});

test("a check behind HTTP that does not answer is 454, and counts as no failure", async (t) => {
  const limits = { SMTP_AUTH_FAILURES_PER_CLIENT: "1", SMTP_AUTH_FAILURES_PER_USER: "1" };
  const auth = { http: "http://127.0.0.1:1/", allowPrivate: true };
  const [edge] = (await edges(t, limits, 1, { auth })) as [TestEdge];
  const client = await from("198.51.100.80", edge);
  for (let i = 0; i < 3; i++) await authenticate(client, "dan", "dan's", "454 4.7.0 ");
  client.destroy();
});

test("Redis frozen, then dead: 454 and nothing else; back again, nobody is locked out", async (t) => {
  const [edge] = (await edges(t, {
    SMTP_AUTH_FAILURES_PER_CLIENT: "2",
    SMTP_AUTH_FAILURES_PER_USER: "2",
  })) as [TestEdge];
  const address = "198.51.100.60";
  const client = await from(address, edge);
  redis.freeze();
  await authenticate(client, "eve", "eve's", "454 4.7.0 ");
  await authenticate(client, "eve", "wrong", "454 4.7.0 ");
  redis.thaw();
  await redis.kill();
  for (const password of ["eve's", "wrong", "eve's"])
    await authenticate(client, "eve", password, "454 4.7.0 ");
  await redis.start();
  const deadline = Date.now() + 30_000;
  for (;;) {
    await client.send(`AUTH PLAIN ${Buffer.from("\0eve\0eve's").toString("base64")}`);
    const reply = await client.expect("");
    if (reply.startsWith("235")) break;
    assert.match(reply, /^454 /);
    assert.ok(Date.now() < deadline, "Redis is back, and nobody gets in");
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  client.destroy();
});
