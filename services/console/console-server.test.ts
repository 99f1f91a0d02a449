import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { buffer } from "node:stream/consumers";
import { after, test } from "node:test";
import { type MessageId, newMessageId, signLink } from "@millrace/mail";
import { openMailStore } from "@millrace/mailstore";
import { defaultParseLimits, parseMessage } from "@millrace/mime";
import { createLogger, StartError } from "@millrace/service";
import { startConsole } from "./console-server.ts";

const secret = Buffer.alloc(32, 9);
const raw = Buffer.from(
  [
    "From: a@x.test",
    "Subject: two",
    "MIME-Version: 1.0",
    'Content-Type: multipart/mixed; boundary="b"',
    "",
    "--b",
    "Content-Type: text/plain",
    "",
    "hello",
    "--b",
    "Content-Type: image/png",
    'Content-Disposition: attachment; filename="../gr\u00fcn.png"',
    "Content-Transfer-Encoding: base64",
    "",
    Buffer.alloc(200_000, "png").toString("base64").replace(/.{76}/g, "$&\r\n"),
    "--b",
    "Content-Type: text/html",
    "Content-Disposition: attachment",
    "",
    "<script>alert(1)</script>",
    "--b--",
    "",
  ].join("\r\n"),
);

const folder = await mkdtemp(join(tmpdir(), "millrace-console-"));
const writer = openMailStore({ directory: folder });
const id: MessageId = newMessageId();
await writer.put([
  {
    raw,
    parsed: await parseMessage(raw, defaultParseLimits),
    manifest: {
      v: 1,
      id,
      receivedAt: Date.now(),
      size: raw.length,
      sha256: createHash("sha256").update(raw).digest("hex"),
      receivedFieldSize: 0,
      envelope: {
        from: "a@x.test",
        recipients: ["b@x.test"],
        smtputf8: false,
        body: null,
        client: { ip: "127.0.0.1", port: 1 },
        helo: "x",
        protocol: "ESMTP",
        tls: null,
        user: null,
      },
    },
  },
]);
const store = openMailStore({ directory: folder, readOnly: true });
const log = createLogger("console", "silent");
const options = { host: "127.0.0.1", port: 0, store, linkSecret: secret, log };
const server = await startConsole(options);
after(async () => {
  await server.close();
  store.close();
  writer.close();
  await rm(folder, { recursive: true });
});

/** The path goes out as it is written here: fetch would tidy it up first. */
async function ask(path: string, method = "GET") {
  const response = await new Promise<import("node:http").IncomingMessage>((resolve, reject) => {
    request({ host: "127.0.0.1", port: server.port, path, method }, resolve).on("error", reject).end();
  });
  const body = await buffer(response);
  return { status: response.statusCode, headers: response.headers, body };
}

const link = (end: string, expires?: number) => signLink(`/messages/${id}/${end}`, secret, expires);

test("console: /healthz says ok", async () => {
  const { status, body } = await ask("/healthz");
  assert.deepEqual([status, JSON.parse(body.toString())], [200, { status: "ok" }]);
});

test("console: an attachment is sent with its octets, its type and a safe name", async () => {
  const { status, headers, body } = await ask(link("attachments/0"));
  assert.equal(status, 200);
  assert.ok(body.equals(Buffer.alloc(200_000, "png")));
  assert.equal(headers["content-type"], "image/png");
  assert.match(
    String(headers["content-disposition"]),
    /^attachment; filename="gr[^/]*n\.png"; filename\*=UTF-8''gr[^/]*n\.png$/,
  );
});

test("console: an attachment that could run is octets", async () => {
  const { status, headers, body } = await ask(link("attachments/1"));
  assert.deepEqual([status, headers["content-type"]], [200, "application/octet-stream"]);
  assert.match(String(headers["content-disposition"]), /^attachment; filename="attachment-1"/);
  assert.equal(body.toString().trim(), "<script>alert(1)</script>");
});

test("console: the raw message is sent as it was received", async () => {
  const { status, headers, body } = await ask(link("raw"));
  assert.deepEqual([status, headers["content-type"]], [200, "message/rfc822"]);
  assert.match(String(headers["content-disposition"]), new RegExp(`^attachment; filename="${id}\\.eml"`));
  assert.ok(body.equals(raw));
});

test("console: HEAD has the same head and nothing behind it", async () => {
  for (const path of ["/healthz", link("raw"), link("attachments/0")]) {
    const [head, get] = [await ask(path, "HEAD"), await ask(path)];
    assert.deepEqual([head.status, head.body.length], [200, 0]);
    assert.equal(head.headers["content-type"], get.headers["content-type"]);
    assert.equal(head.headers["content-disposition"], get.headers["content-disposition"]);
  }
});

test("console: every answer is guarded", async () => {
  for (const path of ["/healthz", link("attachments/1"), link("raw"), "/nowhere", `/messages/${id}/raw`]) {
    const { headers } = await ask(path);
    assert.equal(headers["x-content-type-options"], "nosniff");
    assert.equal(headers["cache-control"], "no-store");
    assert.match(String(headers["content-security-policy"]), /^sandbox;/);
  }
});

test("console: without a signature for this very path there is nothing to see", async () => {
  const valid = link("raw");
  const forged = [
    `/messages/${id}/raw`,
    `/messages/${newMessageId()}/raw`,
    valid.replace(/.$/, (last) => (last === "A" ? "B" : "A")),
    valid.replace(/expires=\d/, "expires=9"),
    valid.replace(/signature=.*/, "signature="),
    valid.replace("/raw", "/attachments/0"),
    signLink(`/messages/${id}/raw`, Buffer.alloc(32, 1)),
  ];
  for (const path of forged) {
    const { status, body } = await ask(path);
    assert.deepEqual([status, JSON.parse(body.toString())], [403, { error: "this link is not valid" }], path);
  }
});

test("console: an expired link is gone", async () => {
  const { status, body } = await ask(link("raw", Math.floor(Date.now() / 1_000) - 1));
  assert.deepEqual([status, JSON.parse(body.toString())], [410, { error: "this link has expired" }]);
});

test("console: what is not there is 404, also when the link is good", async () => {
  const paths = [
    "/",
    "/messages",
    "/healthz/",
    "//healthz",
    "/messages/../healthz",
    link("attachments/2"),
    link("attachments/0/x"),
  ];
  for (const path of [
    ...paths,
    signLink(`/messages/${newMessageId()}/raw`, secret),
    signLink("/messages/%2e%2e/raw", secret),
  ]) {
    const { status, body } = await ask(path);
    assert.deepEqual([status, JSON.parse(body.toString())], [404, { error: "not found" }], path);
  }
});

test("console: there is nothing to write to", async () => {
  const { status, headers } = await ask("/healthz", "POST");
  assert.deepEqual([status, headers.allow], [405, "GET, HEAD"]);
});

test("console: who hangs up in the middle harms nobody", async () => {
  await new Promise<void>((resolve) => {
    const asked = request(
      { host: "127.0.0.1", port: server.port, path: link("attachments/0") },
      (response) => {
        response.once("data", () => asked.destroy());
        response.once("close", resolve);
      },
    );
    asked.on("error", () => {});
    asked.end();
  });
  assert.equal((await ask(link("attachments/0"))).body.length, 200_000);
});

test("console: a port that is taken is an error that names the settings", async () => {
  await assert.rejects(
    startConsole({ ...options, port: server.port }),
    (error) =>
      error instanceof StartError && /CONSOLE_PORT=\d+ .*EADDRINUSE.*: choose others/.test(error.message),
  );
});
