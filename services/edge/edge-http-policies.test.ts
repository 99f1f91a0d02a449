import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { text } from "node:stream/consumers";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import type { PolicyTransaction } from "@millrace/pipeline";
import type { HttpPolicyConfig } from "@millrace/service";
import { startRedis, type TestRedis } from "@millrace/test/redis";
import { Webhook } from "standardwebhooks";
import { startTestEdge, type TestEdge } from "./testing/test-edge.ts";

let redis: TestRedis;
const ends: (() => Promise<void>)[] = [];
before(async () => {
  redis = await startRedis();
});
after(async () => {
  for (const end of ends) await end();
  await redis.stop();
});

interface Asked {
  headers: IncomingMessage["headers"];
  body: string;
  transaction: PolicyTransaction;
}

/** An edge that asks a real HTTP server, which answers as a test says. */
async function start(
  answer: (response: ServerResponse, transaction: PolicyTransaction) => void,
  config: Partial<HttpPolicyConfig> = {},
): Promise<{ edge: TestEdge; asked: Asked[] }> {
  const asked: Asked[] = [];
  const server = createServer(async (request, response) => {
    const body = await text(request);
    const transaction = JSON.parse(body) as PolicyTransaction;
    asked.push({ headers: request.headers, body, transaction });
    answer(response, transaction);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  const edge = await startTestEdge(redis.url, {
    policies: [
      { http: `http://127.0.0.1:${port}/decide?key=k3y`, on: ["rcpt"], allowPrivate: true, ...config },
    ],
  });
  ends.push(async () => {
    await edge.end();
    server.closeAllConnections();
    server.close();
  });
  return { edge, asked };
}

const json = (decision: unknown) => (response: ServerResponse) => response.end(JSON.stringify(decision));

/** The first refusal, or the reply to the message. */
async function send(edge: TestEdge, from = "sender@example.org", to = ["user@example.com"]): Promise<string> {
  const client = await edge.client();
  try {
    for (const command of [`MAIL FROM:<${from}>`, ...to.map((each) => `RCPT TO:<${each}>`)]) {
      await client.send(command);
      const reply = await client.expect("");
      if (!reply.startsWith("250 ")) return reply;
    }
    await client.send("DATA");
    await client.expect("354 ");
    await client.send("Subject: hello", "", "words", ".");
    return await client.expect("");
  } finally {
    client.destroy();
  }
}

function failure({ log }: TestEdge): Record<string, unknown> {
  const line = log.find(({ msg }) => msg === "policy failed");
  assert.ok(line, "no policy has failed");
  return line;
}

test("a policy behind HTTP accepts, refuses for good or for now, and tags", async () => {
  const { edge } = await start((response, { from }) => {
    const decisions: Record<string, unknown> = {
      "reject@example.org": { decision: "reject", code: 554, text: "5.7.9 No\r\n250 yes" },
      "defer@example.org": { decision: "defer" },
      "tag@example.org": { decision: "tag", tags: ["vip"] },
    };
    json(decisions[from] ?? { decision: "accept" })(response);
  });
  assert.match(await send(edge), /^250 2\.0\.0 /);
  assert.equal(await send(edge, "reject@example.org"), "554 5.7.9 No 250 yes");
  assert.equal(await send(edge, "defer@example.org"), "451 4.7.1 Not now, try again later");
  const { manifest } = await edge.stored(await send(edge, "tag@example.org"));
  assert.deepEqual(manifest.envelope.tags, ["vip"]);
});

test("it is sent the transaction as JSON, signed as Standard Webhooks wants it", async () => {
  const secret = `whsec_${Buffer.alloc(24, 5).toString("base64")}`;
  const { edge, asked } = await start(json({ decision: "accept" }), {
    on: ["mail", "rcpt", "data"],
    secret,
  });
  const reply = await send(edge);
  assert.match(reply, /^250 2\.0\.0 /);
  assert.deepEqual(
    asked.map(({ transaction }) => transaction.on),
    ["mail", "rcpt", "data"],
  );
  for (const { headers, body, transaction } of asked) {
    assert.equal(headers["content-type"], "application/json");
    assert.deepEqual(new Webhook(secret).verify(body, headers as Record<string, string>), transaction);
  }
  assert.equal(new Set(asked.map(({ headers }) => headers["webhook-id"])).size, 3);
  const [, rcpt, data] = asked.map(({ transaction }) => transaction);
  assert.ok(rcpt?.on === "rcpt" && rcpt.recipient === "user@example.com");
  assert.ok(data?.on === "data");
  const { manifest } = await edge.stored(reply);
  assert.deepEqual([data.message, data.sha256], [manifest.id, manifest.sha256]);
  assert.deepEqual(data.headers, [{ name: "Subject", value: "hello" }]);
});

test("an answer is kept for the same question, and for no other", async () => {
  const { edge, asked } = await start(json({ decision: "tag", tags: ["known"] }), {
    on: ["mail", "rcpt", "data"],
    cache: 600_000,
  });
  const count = (on: string) => asked.filter(({ transaction }) => transaction.on === on).length;
  for (let i = 0; i < 3; i++) {
    const { manifest } = await edge.stored(await send(edge));
    assert.deepEqual(manifest.envelope.tags, ["known"]);
  }
  // A message is never the same one twice.
  assert.deepEqual([count("mail"), count("rcpt"), count("data")], [1, 1, 3]);
  await send(edge, "other@example.org");
  assert.deepEqual([count("mail"), count("rcpt")], [2, 2]);
  await send(edge, "other@example.org", ["user@example.com", "second@example.com"]);
  assert.deepEqual([count("mail"), count("rcpt")], [2, 3]);
});

test("an answer is kept no longer than its time, and without `cache` not at all", async () => {
  const short = await start(json({ decision: "accept" }), { cache: 300 });
  await send(short.edge);
  await sleep(400);
  await send(short.edge);
  assert.equal(short.asked.length, 2);
  const none = await start(json({ decision: "accept" }));
  await send(none.edge);
  await send(none.edge);
  assert.equal(none.asked.length, 2);
});

test("a failure is not kept", async () => {
  let broken = true;
  const { edge, asked } = await start(
    (response) => (broken ? response.writeHead(500).end() : json({ decision: "accept" })(response)),
    { cache: 600_000 },
  );
  assert.match(await send(edge), /^451 4\.3\.0 /);
  broken = false;
  assert.match(await send(edge), /^250 2\.0\.0 /);
  assert.equal(asked.length, 2);
});

const failures: [string, (response: ServerResponse) => void, RegExp][] = [
  ["says 500", (response) => response.writeHead(500).end(), /answered HTTP 500 Internal Server Error/],
  [
    "redirects",
    (response) => response.writeHead(307, { location: "/elsewhere" }).end(),
    /HTTP 307 .* redirect, which is not followed/,
  ],
  ["answers no JSON", (response) => response.end("accept"), /answered "accept", which is no JSON/],
  ["answers nonsense", json({ decision: "maybe" }), /answered .*maybe.*: a decision is/],
  ["answers with a wrong code", json({ decision: "reject", code: 250 }), /reply code from 510 to 599/],
  ["answers with a tag that is no word", json({ decision: "tag", tags: ["a b"] }), /a tag is a word/],
  [
    "answers without end",
    (response) => {
      response.write(`{"decision":"accept","x":"`);
      response.end(`${"x".repeat(100_000)}"}`);
    },
    /longer than 16384 octets/,
  ],
  ["breaks off", (response) => response.socket?.destroy(), /./],
  ["never answers", () => {}, /no answer within 0\.5 s/],
  ["never ends its answer", (response) => response.write('{"decision":'), /broke off/],
];
for (const [what, answer, words] of failures) {
  test(`a policy that ${what} is answered for, by defer or accept as configured`, async () => {
    const closed = await start(answer, { timeout: 500 });
    assert.match(await send(closed.edge), /^451 4\.3\.0 Temporary failure, try again later$/);
    const line = failure(closed.edge);
    assert.match(String(line.policy), /^http:\/\/127\.0\.0\.1:\d+\/decide$/);
    assert.match((line.err as Error).message, words);
    const open = await start(answer, { timeout: 500, onError: "accept" });
    assert.match(await send(open.edge), /^250 2\.0\.0 /);
  });
}

test("an address inside is not asked unless it is allowed", async () => {
  const { edge, asked } = await start(json({ decision: "accept" }), { allowPrivate: false });
  assert.match(await send(edge), /^451 4\.3\.0 /);
  assert.equal(asked.length, 0);
  assert.match((failure(edge).err as Error).message, /set allowPrivate: true/);
});
