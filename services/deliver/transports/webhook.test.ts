import assert from "node:assert/strict";
import { once } from "node:events";
import {
  createServer,
  type IncomingMessage,
  type RequestListener,
  type Server,
  type ServerResponse,
} from "node:http";
import { createServer as createTlsServer } from "node:https";
import type { AddressInfo } from "node:net";
import { text } from "node:stream/consumers";
import { after, test } from "node:test";
import { verifyLink } from "@millrace/mail";
import { defaultParseLimits, parseMessage } from "@millrace/mime";
import { Webhook } from "standardwebhooks";
import type { DeliveryRequest } from "../transport.ts";
import { selfSigned } from "./testing/certificate.ts";
import { requestFor } from "./testing/request.ts";
import { type WebhookConfig, webhookTransport } from "./webhook.ts";
import { webhookPayloadSchema } from "./webhook-payload.ts";

const ends: (() => unknown)[] = [];
after(async () => {
  for (const end of ends.reverse()) await end();
});

const linkSecret = Buffer.alloc(32, 7);
const consoleUrl = "https://mail.example.com/console/";

interface Received {
  method: string | undefined;
  url: string | undefined;
  headers: IncomingMessage["headers"];
  body: string;
}

/** A real receiver that answers as a test says. */
async function receiver(
  answer: (response: ServerResponse) => void = (response) => response.end("thank you"),
  make: (listener: RequestListener) => Server = createServer,
) {
  const requests: Received[] = [];
  const server = make(async (request, response) => {
    const { method, url, headers } = request;
    requests.push({ method, url, headers, body: await text(request) });
    answer(response);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  ends.push(() => {
    server.closeAllConnections();
    server.close();
  });
  const { port } = server.address() as AddressInfo;
  return { requests, port, url: `http://127.0.0.1:${port}/inbound`, server };
}

function transportTo(webhook: string, config: Partial<WebhookConfig> = {}) {
  const transport = webhookTransport({ webhook, allowPrivate: true, ...config }, { consoleUrl, linkSecret });
  ends.push(() => transport.close());
  return transport;
}

/** What a webhook that answers with this status makes of a delivery. */
async function outcomeFor(status: number, headers: Record<string, string> = {}, body = "") {
  const { url } = await receiver((response) => response.writeHead(status, headers).end(body));
  const [outcome] = await transportTo(url).deliver(requestFor());
  assert.ok(outcome);
  return outcome;
}

const withAttachments = [
  "From: Ann <ann@x.test>",
  "To: bob@x.test",
  "Subject: =?utf-8?q?gr=C3=BC=C3=9Fe?=",
  "Message-ID: <1@x.test>",
  "MIME-Version: 1.0",
  'Content-Type: multipart/mixed; boundary="b"',
  "",
  "--b",
  "Content-Type: text/plain; charset=utf-8",
  "",
  "hello",
  "--b",
  'Content-Type: application/pdf; name="../a.pdf"',
  'Content-Disposition: attachment; filename="../a.pdf"',
  "Content-Transfer-Encoding: base64",
  "",
  Buffer.from("first attachment").toString("base64"),
  "--b",
  "Content-Type: text/html",
  'Content-Disposition: attachment; filename="b.html"',
  "",
  "<b>second</b>",
  "--b--",
  "",
].join("\r\n");

async function requestWithAttachments(): Promise<DeliveryRequest> {
  const request = requestFor({ raw: withAttachments, recipients: ["bob@x.test", "eve@x.test"] });
  const parsed = await parseMessage(await request.raw(), defaultParseLimits);
  return { ...request, parsed: async () => parsed };
}

test("webhook: one signed request for all recipients, in the documented shape", async () => {
  const { requests, url } = await receiver();
  const secret = "a plain text";
  const request = await requestWithAttachments();
  const outcomes = await transportTo(url, { secret }).deliver(request);
  assert.deepEqual(outcomes, [
    { recipient: "bob@x.test", result: "delivered", reply: "HTTP 200 OK: thank you", code: "HTTP_200" },
    { recipient: "eve@x.test", result: "delivered", reply: "HTTP 200 OK: thank you", code: "HTTP_200" },
  ]);
  assert.equal(requests.length, 1);
  const [{ method, url: path, headers, body }] = requests as [Received];
  assert.deepEqual([method, path, headers["content-type"]], ["POST", "/inbound", "application/json"]);
  assert.equal(headers["webhook-id"], request.deliveryId);
  const verified = new Webhook(Buffer.from(secret).toString("base64")).verify(
    body,
    headers as Record<string, string>,
  );

  const payload = webhookPayloadSchema.strict().parse(verified);
  assert.deepEqual(payload, verified, "the schema leaves nothing out");
  assert.equal(payload.id, request.deliveryId);
  assert.equal(payload.type, "message.received");
  const { data } = payload;
  assert.equal(data.message, request.message);
  assert.deepEqual(data.envelope, { from: "from@example.com", recipients: ["bob@x.test", "eve@x.test"] });
  assert.deepEqual([data.size, data.sha256], [request.manifest.size, request.manifest.sha256]);
  assert.deepEqual(
    [data.subject, data.messageId, data.text.trim()],
    ["gr\u00fc\u00dfe", "<1@x.test>", "hello"],
  );
  assert.deepEqual(data.from, [{ name: "Ann", address: "ann@x.test" }]);
  assert.deepEqual(data.headers[0], { name: "From", value: "Ann <ann@x.test>" });
});

test("webhook: attachments and the raw message are links that the link key has signed", async () => {
  const { requests, url } = await receiver();
  const request = await requestWithAttachments();
  await transportTo(url).deliver(request);
  const { data } = webhookPayloadSchema.parse(JSON.parse(requests[0]?.body ?? ""));
  const links = [data.rawUrl, ...data.attachments.map((attachment) => attachment.url ?? "")].map(
    (link) => new URL(link),
  );
  const base = `/messages/${request.message}`;
  assert.deepEqual(
    links.map(({ origin, pathname }) => origin + pathname),
    ["raw", "attachments/0", "attachments/1"].map((end) => `https://mail.example.com/console${base}/${end}`),
  );
  for (const { pathname, searchParams } of links)
    assert.equal(verifyLink(pathname.replace("/console", ""), searchParams, linkSecret), "valid");
  assert.ok(data.attachments.every((attachment) => attachment.content === undefined));
});

test("webhook: inline attachments are base64 up to the limit, and links beyond", async () => {
  const { requests, url } = await receiver();
  const request = await requestWithAttachments();
  await transportTo(url, { attachments: "inline" }).deliver(request);
  await transportTo(url, { attachments: "inline", inlineLimit: 20 }).deliver(request);
  const [all, some] = requests.map(
    ({ body }) => webhookPayloadSchema.parse(JSON.parse(body)).data.attachments,
  );
  const contents = (list: typeof all) =>
    list?.map(({ content, url }) =>
      content ? Buffer.from(content, "base64").toString().trim() : url?.replace(/\?.*/, ""),
    );
  assert.deepEqual(contents(all), ["first attachment", "<b>second</b>"]);
  assert.deepEqual(contents(some), [
    "first attachment",
    `${consoleUrl}messages/${request.message}/attachments/1`,
  ]);
});

test("webhook: attempts share the id, each has its own time", async () => {
  const { requests, url } = await receiver((response) => response.writeHead(500).end());
  const request = requestFor();
  const before = Math.floor(Date.now() / 1_000);
  await transportTo(url, { secret: "s" }).deliver(request);
  await transportTo(url, { secret: "s" }).deliver({ ...request, attempt: 2 });
  assert.equal(requests[0]?.headers["webhook-id"], requests[1]?.headers["webhook-id"]);
  assert.ok(Number(requests[1]?.headers["webhook-timestamp"]) >= before);
});

test("webhook: without a secret nothing is signed", async () => {
  const { requests, url } = await receiver();
  await transportTo(url).deliver(requestFor());
  assert.equal(requests[0]?.headers["webhook-signature"], undefined);
  assert.ok(requests[0]?.headers["webhook-id"]);
});

test("webhook: user and password of the URL become Basic authorization", async () => {
  const { requests, port } = await receiver();
  await transportTo(`http://us%40er:p%3Aw@127.0.0.1:${port}/x?y=1#z`).deliver(requestFor());
  assert.equal(requests[0]?.url, "/x?y=1");
  assert.equal(requests[0]?.headers.authorization, `Basic ${Buffer.from("us@er:p:w").toString("base64")}`);
});

for (const [status, result] of [
  [200, "delivered"],
  [204, "delivered"],
  [299, "delivered"],
  [301, "failed"],
  [307, "failed"],
  [400, "deferred"],
  [401, "deferred"],
  [404, "deferred"],
  [410, "failed"],
  [429, "deferred"],
  [500, "deferred"],
  [503, "deferred"],
] as const) {
  test(`webhook: HTTP ${status} is ${result}`, async () => {
    const outcome = await outcomeFor(status);
    assert.deepEqual([outcome.result, outcome.code], [result, `HTTP_${status}`]);
    assert.match(outcome.reply, new RegExp(`^HTTP ${status}\\b`));
  });
}

test("webhook: which answers speak of the target's trouble, and which of the message only", async () => {
  for (const status of [429, 500, 502, 503, 504])
    assert.equal((await outcomeFor(status)).sick, true, `${status}`);
  for (const status of [200, 301, 400, 401, 404, 410, 422])
    assert.equal((await outcomeFor(status)).sick, undefined, `${status}`);
});

test("webhook: Retry-After is heard, in seconds and as a date, and not believed without bound", async () => {
  assert.equal((await outcomeFor(429, { "retry-after": "17" })).retryAfter, 17_000);
  assert.equal((await outcomeFor(503, { "retry-after": "0" })).retryAfter, 0);
  const date = new Date(Date.now() + 120_000).toUTCString();
  const { retryAfter = 0 } = await outcomeFor(503, { "retry-after": date });
  assert.ok(retryAfter > 60_000 && retryAfter <= 120_000, String(retryAfter));
  assert.equal((await outcomeFor(503, { "retry-after": "Wed, 21 Oct 2015 07:28:00 GMT" })).retryAfter, 0);
  assert.equal((await outcomeFor(503, { "retry-after": "99999999999" })).retryAfter, 86_400_000);
  assert.equal((await outcomeFor(503, { "retry-after": "soon" })).retryAfter, undefined);
  assert.equal((await outcomeFor(503)).retryAfter, undefined);
});

test("webhook: a redirect is not followed, wherever it leads", async () => {
  const inside = await receiver();
  const outcome = await outcomeFor(302, { location: inside.url });
  assert.equal(outcome.result, "failed");
  assert.match(outcome.reply, /redirects to http:\/\/127\.0\.0\.1.*not followed/);
  assert.equal(inside.requests.length, 0);
});

test("webhook: the answer's words come out as one harmless line", async () => {
  const outcome = await outcomeFor(500, {}, `line one\r\n\u001b[31mline two\u0000${"x".repeat(5_000)}`);
  assert.match(outcome.reply, /^HTTP 500 Internal Server Error: line one \[31mline two x+$/);
  assert.ok(outcome.reply.length <= 1_100);
});

test("webhook: an answer without end is cut off, and its status counts", async () => {
  let closed: Promise<unknown> = Promise.resolve();
  let written = 0;
  const { url } = await receiver((response) => {
    closed = once(response, "close");
    response.writeHead(200);
    const more = () => {
      do written += 16_384;
      while (!response.destroyed && response.write("x".repeat(16_384)));
    };
    response.on("drain", more);
    more();
  });
  const [outcome] = await transportTo(url, { timeoutSeconds: 2 }).deliver(requestFor());
  assert.equal(outcome?.result, "delivered");
  await closed;
  // What was under way in the buffers between us, and no more.
  assert.ok(written < 50_000_000, `${written} octets`);
});

test("webhook: who does not answer in time is deferred", async () => {
  const { url } = await receiver(() => {});
  const [outcome] = await transportTo(url, { timeoutSeconds: 0.2 }).deliver(requestFor());
  assert.deepEqual(
    [outcome?.result, outcome?.code, outcome?.reply],
    ["deferred", "TIMEOUT", "no answer within 0.2 s"],
  );
});

test("webhook: a status whose body never comes is a status", async () => {
  for (const [status, result] of [
    [200, "delivered"],
    [500, "deferred"],
  ] as const) {
    const { url } = await receiver((response) => response.writeHead(status).write("x"));
    const [outcome] = await transportTo(url, { timeoutSeconds: 0.2 }).deliver(requestFor());
    assert.deepEqual([outcome?.result, outcome?.code], [result, `HTTP_${status}`]);
  }
});

test("webhook: the signal breaks an attempt off", async () => {
  const { url } = await receiver(() => {});
  const [outcome] = await transportTo(url).deliver(requestFor({ signal: AbortSignal.timeout(100) }));
  assert.deepEqual([outcome?.result, outcome?.code], ["deferred", "ABORTED"]);
});

test("webhook: trouble with the network is deferred under its code", async () => {
  const { url, server } = await receiver();
  server.close();
  await once(server, "close");
  const [refused] = await transportTo(url).deliver(requestFor());
  assert.deepEqual([refused?.result, refused?.code], ["deferred", "ECONNREFUSED"]);

  const dropping = await receiver((response) => response.socket?.destroy());
  const [dropped] = await transportTo(dropping.url).deliver(requestFor());
  assert.equal(dropped?.result, "deferred");

  const [unknown] = await transportTo("http://nowhere.invalid/").deliver(requestFor());
  assert.equal(unknown?.result, "deferred");
  assert.match(unknown?.code ?? "", /^(ENOTFOUND|EAI_AGAIN)$/);
});

test("webhook: a certificate nobody has signed is not accepted", async () => {
  const { port, requests } = await receiver(undefined, (listener) => createTlsServer(selfSigned(), listener));
  const [outcome] = await transportTo(`https://localhost:${port}/`).deliver(requestFor());
  assert.deepEqual([outcome?.result, outcome?.code], ["deferred", "DEPTH_ZERO_SELF_SIGNED_CERT"]);
  assert.equal(requests.length, 0);
});

test("webhook: an address inside is never connected to, however it is written", async () => {
  let connections = 0;
  const { port, requests, server } = await receiver();
  server.on("connection", () => connections++);
  const hosts = [
    "127.0.0.1",
    "localhost",
    "0.0.0.0",
    "[::1]",
    "[::]",
    "[::ffff:127.0.0.1]",
    "2130706433",
    "0x7f.1",
    "127.1",
  ];
  const elsewhere = [
    "10.0.0.1",
    "192.168.0.1",
    "172.16.0.1",
    "169.254.169.254",
    "100.64.0.1",
    "[fd00:ec2::254]",
    "[fe80::1]",
  ];
  for (const host of [...hosts, ...elsewhere]) {
    const transport = transportTo(`http://${host}:${port}/`, { allowPrivate: false, timeoutSeconds: 5 });
    const [outcome] = await transport.deliver(requestFor());
    assert.deepEqual([outcome?.result, outcome?.code], ["failed", "ADDRESS_BLOCKED"], host);
    assert.match(outcome?.reply ?? "", /not an address of the public internet: set allowPrivate: true/);
  }
  assert.deepEqual([connections, requests.length], [0, 0]);
});
