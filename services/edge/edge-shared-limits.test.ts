import assert from "node:assert/strict";
import { after, before, beforeEach, test } from "node:test";
import { patientRedis } from "@millrace/service";
import { startRedis, type TestRedis } from "@millrace/test/redis";
import { SmtpDialogue } from "@millrace/test/smtp-dialogue";
import { until } from "@millrace/test/until";
import { binaryHeader } from "./testing/proxy-header.ts";
import { beginMessage, startTestEdge, type TestEdge, type TestEdgeOptions } from "./testing/test-edge.ts";
import { addUsers, authenticate } from "./testing/users.ts";

let redis: TestRedis;
let watcher: ReturnType<typeof patientRedis>;
before(async () => {
  redis = await startRedis();
  watcher = patientRedis(redis.url);
  await addUsers(redis.url, { ann: { password: "ann's" }, bob: { password: "bob's" } });
});
beforeEach(async () => {
  const counted = await watcher.keys("millrace:limits:*");
  if (counted.length > 0) await watcher.del(...counted);
});
after(async () => {
  watcher?.disconnect();
  await redis?.stop();
});

/** Edges behind a proxy on this machine, whose word for the client's address they take. */
async function edges(
  t: { after(end: () => Promise<void>): void },
  env: Record<string, string>,
  count = 1,
  options: TestEdgeOptions = {},
): Promise<[TestEdge, ...TestEdge[]]> {
  const all = await Promise.all(
    Array.from({ length: count }, () =>
      startTestEdge(redis.url, {
        ...options,
        env: {
          ...{ SMTP_ENABLE_AUTH: "true", SMTP_TLS_MODE: "proxy", SMTP_PROXY_PROTOCOL_FROM: "127.0.0.1" },
          ...env,
        },
      }),
    ),
  );
  t.after(async () => void (await Promise.all(all.map((edge) => edge.end()))));
  return all as [TestEdge, ...TestEdge[]];
}

/** A connection from this address, greeted. */
async function greeted(address: string, edge: TestEdge): Promise<SmtpDialogue> {
  const client = await SmtpDialogue.connect(edge.port);
  const family = address.includes(":") ? "TCP6" : "TCP4";
  const to = family === "TCP4" ? "192.0.2.25" : "2001:db8::25";
  await client.write(`PROXY ${family} ${address} ${to} 4000 465\r\n`);
  await client.expect("220 ");
  return client;
}

/** The same, and what EHLO is answered with. */
async function from(address: string, edge: TestEdge, reply = "250"): Promise<SmtpDialogue> {
  const client = await greeted(address, edge);
  await client.send("EHLO client.example");
  await client.expect(reply);
  return client;
}

/** Says a command, and holds the reply against what it must begin with. */
async function says(client: SmtpDialogue, command: string, reply: string): Promise<void> {
  await client.send(command);
  await client.expect(reply);
}

/** A figure of an edge's metrics by its name and labels; 0 when there is none yet. */
async function figure(edge: TestEdge, name: string): Promise<number> {
  const lines = (await edge.edge.metrics()).text.split("\n");
  return Number(lines.find((line) => line.startsWith(`millrace_edge_${name} `))?.split(" ")[1] ?? 0);
}

const tooMany = "421 4.7.0 Too many connections from this address";

test("connections at once: of one address at both edges together, and one that ends makes room", async (t) => {
  const [one, other] = await edges(t, { SMTP_LIMIT_CONNECTIONS_PER_CLIENT: "3" }, 2);
  assert.ok(other);
  const open = [
    await from("198.51.100.1", one),
    await from("198.51.100.1", other),
    await from("198.51.100.1", one),
  ];
  for (const edge of [one, other]) {
    const refused = await from("198.51.100.1", edge, tooMany);
    await refused.expectClosed();
  }
  const elsewhere = await from("198.51.100.2", other);
  assert.equal(await figure(one, 'limited_total{limit="connections"}'), 1);
  const line = one.log.find(({ limit }) => limit === "connections");
  assert.deepEqual([line?.client, line?.msg], ["198.51.100.1", "refused"]);

  // With QUIT, and without a word.
  await says(open[0] as SmtpDialogue, "QUIT", "221 ");
  open[1]?.destroy();
  await until(async () => (await watcher.zcard("millrace:limits:connections:198.51.100.1")) === 1);
  const [back, again] = [await from("198.51.100.1", one), await from("198.51.100.1", other)];
  await from("198.51.100.1", one, tooMany);
  // Who is in stays in, and may send.
  await beginMessage(open[2] as SmtpDialogue);
  await says(open[2] as SmtpDialogue, "x\r\n.", "250 2.0.0 ");
  for (const client of [...open, back, again, elsewhere]) client.destroy();
});

test("an IPv6 network of 64 bits is one client", async (t) => {
  const [edge] = await edges(t, { SMTP_LIMIT_CONNECTIONS_PER_CLIENT: "1" });
  const first = await from("2001:db8:0:1::1", edge);
  await from("2001:db8:0:1:ffff::2", edge, tooMany);
  const next = await from("2001:db8:0:2::1", edge);
  for (const client of [first, next]) client.destroy();
});

test("connections a minute", async (t) => {
  const [one, other] = await edges(t, { SMTP_LIMIT_CONNECTIONS_PER_CLIENT_PER_MINUTE: "4" }, 2);
  assert.ok(other);
  for (const edge of [one, other, one, other]) (await from("198.51.100.3", edge)).destroy();
  for (const edge of [one, other])
    await from("198.51.100.3", edge, "421 4.7.0 Too many new connections from this address");
  (await from("198.51.100.4", one)).destroy();
  assert.equal(await figure(other, 'limited_total{limit="connection_rate"}'), 1);
});

test("commands sent in one piece with the first are answered in order, or not at all after 421", async (t) => {
  const [edge] = await edges(t, { SMTP_LIMIT_CONNECTIONS_PER_CLIENT: "1" });
  const batch = ["EHLO client.example", "MAIL FROM:<a@example.org>", "RCPT TO:<user@example.com>", "DATA"];
  const client = await greeted("198.51.100.5", edge);
  await client.send(...batch);
  for (const reply of ["250-", "250 2.1.0", "250 2.1.5", "354 "]) await client.expect(reply);
  const refused = await greeted("198.51.100.5", edge);
  await refused.send(...batch);
  await refused.expect(tooMany);
  assert.equal(await refused.expectClosed(), "");
  client.destroy();
});

test("health checks take no place: nothing said, only QUIT, or the proxy's own", async (t) => {
  const limits = {
    SMTP_LIMIT_CONNECTIONS_PER_CLIENT: "1",
    SMTP_LIMIT_CONNECTIONS_PER_CLIENT_PER_MINUTE: "3",
    SMTP_LIMIT_MESSAGES_PER_CLIENT: "1",
  };
  const [edge] = await edges(t, limits);
  const open: SmtpDialogue[] = [];
  for (let i = 0; i < 5; i++) {
    const check = await greeted("198.51.100.6", edge);
    await says(check, "QUIT", "221 ");
    const own = await SmtpDialogue.connect(edge.port);
    await own.write(binaryHeader(0x20, 0));
    await own.expect("220 ");
    await says(own, "EHLO check.example", "250");
    await says(own, "MAIL FROM:<>", "250 2.1.0");
    open.push(own);
  }
  for (let i = 0; i < 2; i++) open.push(await greeted("198.51.100.6", edge));
  assert.deepEqual(await watcher.keys("millrace:limits:*"), []);
  const client = await from("198.51.100.6", edge);
  await from("198.51.100.6", edge, tooMany);
  for (const each of [...open, client]) each.destroy();
});

test("who says nothing for longer than any health check counts like everybody", async (t) => {
  const [edge] = await edges(t, { SMTP_LIMIT_CONNECTIONS_PER_CLIENT: "1" });
  const first = await greeted("198.51.100.7", edge);
  const second = await greeted("198.51.100.7", edge);
  await until(() => first.isClosed || second.isClosed);
  const [stays, goes] = first.isClosed ? [second, first] : [first, second];
  await goes.expect(tooMany);
  await says(stays, "EHLO client.example", "250");
  assert.equal(await watcher.zcard("millrace:limits:connections:198.51.100.7"), 1);
  stays.destroy();
});

test("messages of an address: 450 4.7.1 at both edges, and the session goes on", async (t) => {
  const [one, other] = await edges(t, { SMTP_LIMIT_MESSAGES_PER_CLIENT: "3" }, 2);
  assert.ok(other);
  const [first, second] = [await from("198.51.100.10", one), await from("198.51.100.10", other)];
  for (const client of [first, second, first]) {
    await beginMessage(client);
    await says(client, "x\r\n.", "250 2.0.0 ");
  }
  for (let i = 0; i < 30; i++)
    await says(second, "MAIL FROM:<a@example.org>", "450 4.7.1 Too many messages from this address");
  await says(second, "NOOP", "250 ");
  const elsewhere = await from("198.51.100.11", other);
  await says(elsewhere, "MAIL FROM:<a@example.org>", "250 2.1.0");
  assert.equal(await figure(other, 'limited_total{limit="client_messages"}'), 30);
  for (const client of [first, second, elsewhere]) client.destroy();
});

test("recipients of an address: those that no route takes count; the others are kept", async (t) => {
  const [one, other] = await edges(t, { SMTP_LIMIT_RECIPIENTS_PER_CLIENT: "4" }, 2);
  assert.ok(other);
  const client = await from("198.51.100.12", one);
  await says(client, "MAIL FROM:<a@example.org>", "250 2.1.0");
  await says(client, "RCPT TO:<one@example.com>", "250 2.1.5");
  await says(client, "RCPT TO:<x@elsewhere.example>", "550 5.1.1");
  await says(client, "RCPT TO:<two@example.com>", "250 2.1.5");
  const beside = await from("198.51.100.12", other);
  await says(beside, "MAIL FROM:<a@example.org>", "250 2.1.0");
  await says(beside, "RCPT TO:<y@elsewhere.example>", "550 5.1.1");
  // And whether there is such a one is told no more.
  for (const recipient of ["three@example.com", "z@elsewhere.example"]) {
    for (const each of [client, beside])
      await says(each, `RCPT TO:<${recipient}>`, "450 4.7.1 Too many recipients from this address");
  }
  await says(client, "DATA", "354 ");
  await client.send("x", ".");
  const { manifest } = await one.stored(await client.expect("250 2.0.0 "));
  assert.deepEqual(manifest.envelope.recipients, ["one@example.com", "two@example.com"]);
  for (const each of [client, beside]) each.destroy();
});

test("messages and recipients of a user, from every address", async (t) => {
  const limits = { SMTP_LIMIT_MESSAGES_PER_USER: "2", SMTP_LIMIT_RECIPIENTS_PER_USER: "3" };
  const [one, other] = await edges(t, limits, 2);
  assert.ok(other);
  const as = async (name: string, address: string, edge: TestEdge) => {
    const client = await from(address, edge);
    await authenticate(client, name, `${name}'s`);
    return client;
  };
  const [first, second] = [await as("ann", "198.51.100.13", one), await as("ann", "198.51.100.14", other)];
  for (const client of [first, second]) await says(client, "MAIL FROM:<a@example.org>", "250 2.1.0");
  const third = await as("ann", "198.51.100.15", one);
  await says(third, "MAIL FROM:<a@example.org>", "450 4.7.1 Too many messages from this user");
  for (const client of [first, second, first]) await says(client, "RCPT TO:<user@example.com>", "250 2.1.5");
  await says(second, "RCPT TO:<user@example.com>", "450 4.7.1 Too many recipients from this user");
  assert.equal(await figure(one, 'limited_total{limit="user_messages"}'), 1);
  assert.equal(await figure(other, 'limited_total{limit="user_recipients"}'), 1);
  // Others, and mail from the same address without AUTH, are none of it.
  const [bob, mx] = [await as("bob", "198.51.100.13", one), await from("198.51.100.13", one)];
  for (const client of [bob, mx]) {
    await says(client, "MAIL FROM:<a@example.org>", "250 2.1.0");
    await says(client, "RCPT TO:<user@example.com>", "250 2.1.5");
  }
  for (const client of [first, second, third, bob, mx]) client.destroy();
});

test("a trusted network is exempt from all of them", async (t) => {
  const [edge] = await edges(t, {
    SMTP_LIMIT_CONNECTIONS_PER_CLIENT: "1",
    SMTP_LIMIT_CONNECTIONS_PER_CLIENT_PER_MINUTE: "1",
    SMTP_LIMIT_MESSAGES_PER_CLIENT: "1",
    SMTP_LIMIT_RECIPIENTS_PER_CLIENT: "1",
    SMTP_LIMIT_MESSAGES_PER_USER: "1",
    SMTP_LIMIT_RECIPIENTS_PER_USER: "1",
    SMTP_LIMIT_EXEMPT: "203.0.113.0/24, 2001:db8:a::/48",
  });
  for (const address of ["203.0.113.9", "2001:db8:a:1::9"]) {
    const clients: SmtpDialogue[] = [];
    for (let i = 0; i < 3; i++) {
      const client = await from(address, edge);
      await authenticate(client, "ann", "ann's");
      await beginMessage(client, { to: ["one@example.com", "two@example.com"] });
      await says(client, "x\r\n.", "250 2.0.0 ");
      clients.push(client);
    }
    for (const client of clients) client.destroy();
  }
  assert.deepEqual(await watcher.keys("millrace:limits:*"), []);
  const outside = await from("203.0.114.9", edge);
  await from("203.0.114.9", edge, "421 4.7.0 ");
  outside.destroy();
});

test("policies are not asked about what a limit refuses", async (t) => {
  const policies = [{ http: "http://127.0.0.1:1/", on: ["mail" as const], allowPrivate: true }];
  const [edge] = await edges(t, { SMTP_LIMIT_MESSAGES_PER_CLIENT: "1" }, 1, { policies });
  const client = await from("198.51.100.16", edge);
  await says(client, "MAIL FROM:<a@example.org>", "451 4.3.0 ");
  await says(client, "MAIL FROM:<a@example.org>", "450 4.7.1 ");
  client.destroy();
});

test("Redis frozen, then dead: limits are passed over, the commit itself says 451; back again, they hold", async (t) => {
  const limits = {
    SMTP_LIMIT_CONNECTIONS_PER_CLIENT: "2",
    SMTP_LIMIT_MESSAGES_PER_CLIENT: "1",
    SMTP_LIMIT_RECIPIENTS_PER_CLIENT: "1",
  };
  const [edge] = await edges(t, limits);
  const open: SmtpDialogue[] = [];
  redis.freeze();
  for (let i = 0; i < 2; i++) open.push(await from("198.51.100.20", edge));
  redis.thaw();
  await redis.kill();
  for (let i = 0; i < 4; i++) open.push(await from("198.51.100.20", edge));
  for (const client of open) await says(client, "MAIL FROM:<a@example.org>", "451 4.3.0 ");
  assert.ok((await figure(edge, "limits_unasked_total")) >= 4);
  const told = () => edge.log.map(({ msg }) => String(msg));
  assert.equal(told().filter((line) => line.startsWith("limits are not asked")).length, 1);
  await redis.start();

  // Who has gone meanwhile is gone from the count, and whoever is there may send.
  for (const client of open.splice(1)) client.destroy();
  const [stays] = open as [SmtpDialogue];
  await until(async () => {
    await stays.send("MAIL FROM:<a@example.org>");
    return (await stays.expect("")).startsWith("250 ");
  });
  // The connection over which limits are asked comes back in its own time, and only a question shows that it has.
  await until(async () => {
    await says(stays, "RSET", "250 ");
    await stays.send("MAIL FROM:<a@example.org>");
    await stays.expect("");
    return told().includes("limits are asked again");
  });
  await until(async () => {
    const client = await greeted("198.51.100.20", edge);
    await client.send("EHLO client.example");
    const admitted = (await client.expect("")).startsWith("250");
    if (admitted) open.push(client);
    return admitted;
  });
  await until(async () => (await watcher.zcard("millrace:limits:connections:198.51.100.20")) === 2);
  await from("198.51.100.20", edge, tooMany);
  for (const client of open) client.destroy();
});

test("failures of AUTH are counted by their reason", async (t) => {
  const [edge] = await edges(t, { SMTP_AUTH_FAILURES_PER_CLIENT: "2", SMTP_AUTH_FAILURES_PER_USER: "3" });
  const attempt = async (address: string, reply: string) => {
    const client = await from(address, edge);
    await authenticate(client, "bob", "wrong", reply);
    client.destroy();
  };
  for (const reply of ["535 ", "535 ", "421 "]) await attempt("198.51.100.30", reply);
  for (const reply of ["535 ", "421 "]) await attempt("198.51.100.31", reply);
  const reasons = ["credentials", "client_limit", "user_limit", "unavailable"];
  const counted = await Promise.all(
    reasons.map((reason) => figure(edge, `auth_failures_total{listener="smtp",reason="${reason}"}`)),
  );
  assert.deepEqual(counted, [3, 1, 1, 0]);
});
