import assert from "node:assert/strict";
import { Readable } from "node:stream";
import { test } from "node:test";
import { smtpTransport } from "./smtp.ts";
import { requestFor } from "./testing/request.ts";
import { scripted, serverWith, transportTo } from "./testing/smtp-servers.ts";

test("smtp: messages one after the other share a connection, messages at once do not wait", async () => {
  const server = await scripted();
  const transport = transportTo(server.port);
  for (let at = 0; at < 5; at++) await transport.deliver(requestFor());
  assert.equal(server.connections(), 1);
  await Promise.all(Array.from({ length: 4 }, () => transport.deliver(requestFor())));
  assert.equal(server.connections(), 4);
  assert.equal(server.messages.length, 9);
});

for (const [where, result] of [
  ["", "deferred"],
  ["MAIL", "deferred"],
  ["RCPT", "deferred"],
  ["DATA", "deferred"],
  [".", "deferred"],
]) {
  test(`smtp: 421 at ${where || "the greeting"} is ${result}`, async () => {
    const server = await scripted((line) =>
      (where ? line.startsWith(where) : line === "")
        ? { reply: "421 4.3.2 shutting down", thenClose: true }
        : undefined,
    );
    const [outcome] = await transportTo(server.port).deliver(requestFor());
    assert.equal(outcome?.result, result);
    assert.equal(outcome?.code, "421");
    assert.match(outcome?.reply ?? "", /421 4\.3\.2 shutting down/);
  });
}

test("smtp: a transaction that was left is reset before the next, since servers insist", async () => {
  const { mails, port } = await serverWith({
    onRcptTo: ({ address }, _session, done) =>
      done(address.startsWith("no") ? new Error("no such user") : null),
  });
  const transport = transportTo(port);
  for (const [recipient, result] of [
    ["no@x.test", "failed"],
    ["yes@x.test", "delivered"],
  ] as const)
    assert.equal((await transport.deliver(requestFor({ recipients: [recipient] })))[0]?.result, result);
  assert.equal(mails.length, 1);
});

test("smtp: a kept connection that has died meanwhile costs the message nothing", async () => {
  const server = await scripted();
  const transport = transportTo(server.port);
  await transport.deliver(requestFor());
  server.hangUp();
  const [outcome] = await transport.deliver(requestFor());
  assert.equal(outcome?.result, "delivered");
  assert.equal(server.connections(), 2);
});

test("smtp: a kept connection that ends after the final dot is not tried again at once", async () => {
  const server = await scripted((line) =>
    line === "." && server.messages.length === 2 ? { reply: "", thenClose: true } : undefined,
  );
  const transport = transportTo(server.port);
  await transport.deliver(requestFor());
  const [outcome] = await transport.deliver(requestFor());
  assert.deepEqual([outcome?.result, outcome?.code], ["deferred", "CLOSED"]);
  assert.equal(server.connections(), 1);
});

test("smtp: a server that wants no more messages over a connection gets another connection", async () => {
  let messages = 0;
  const server = await scripted((line) => {
    if (line === ".") messages++;
    return messages === 1 && line.startsWith("MAIL") && ++messages
      ? { reply: "421 4.7.0 too many messages", thenClose: true }
      : undefined;
  });
  const transport = transportTo(server.port);
  await transport.deliver(requestFor());
  assert.equal((await transport.deliver(requestFor()))[0]?.result, "delivered");
  assert.equal(server.connections(), 2);
});

test("smtp: nobody there is deferred under the errno", async () => {
  const { port, server } = await serverWith();
  await new Promise<void>((resolve) => server.close(() => resolve()));
  const [outcome] = await transportTo(port).deliver(requestFor());
  assert.deepEqual([outcome?.result, outcome?.code], ["deferred", "ECONNREFUSED"]);
  assert.match(outcome?.reply ?? "", new RegExp(`127\\.0\\.0\\.1:${port}`));
});

test("smtp: a host without an address is deferred", async () => {
  const transport = smtpTransport({ smtp: "smtp://nowhere.invalid" }, { hostname: "mx.example.test" });
  const [outcome] = await transport.deliver(requestFor());
  assert.equal(outcome?.result, "deferred");
  assert.match(outcome?.code ?? "", /^(ENOTFOUND|EAI_AGAIN)$/);
});

test("smtp: what is no SMTP server is deferred", async () => {
  const server = await scripted((line) => (line === "" ? "HTTP/1.1 400 Bad Request" : undefined));
  const [outcome] = await transportTo(server.port).deliver(requestFor());
  assert.deepEqual([outcome?.result, outcome?.code], ["deferred", "PROTOCOL"]);
});

test("smtp: a reply without end is cut off", async () => {
  const server = await scripted((line) => (line === "" ? `220-${"x".repeat(70_000)}` : undefined));
  const [outcome] = await transportTo(server.port).deliver(requestFor());
  assert.deepEqual([outcome?.result, outcome?.code], ["deferred", "PROTOCOL"]);
});

test("smtp: the signal breaks off an attempt that hangs, wherever it hangs", async () => {
  for (const where of ["", "EHLO", "MAIL", "."]) {
    const silent = (line: string) => ((where ? line.startsWith(where) : line === "") ? "" : undefined);
    const server = await scripted(silent, []);
    const [outcome] = await transportTo(server.port).deliver(
      requestFor({ signal: AbortSignal.timeout(100) }),
    );
    assert.deepEqual([outcome?.result, outcome?.code], ["deferred", "ABORTED"], where);
  }
});

test("smtp: the signal breaks off a message that is being sent, and a kept connection", async () => {
  const server = await scripted();
  const transport = transportTo(server.port);
  await transport.deliver(requestFor());
  const controller = new AbortController();
  const request = requestFor({ size: 1e9, signal: controller.signal });
  let destroyed = false;
  request.raw = async () =>
    Readable.from(
      (async function* () {
        try {
          yield Buffer.from("Subject: half\r\n\r\nhal");
          controller.abort();
          for (;;) yield Buffer.alloc(65_536, "x");
        } finally {
          destroyed = true;
        }
      })(),
      { objectMode: false },
    );
  const [outcome] = await transport.deliver(request);
  assert.deepEqual([outcome?.result, outcome?.code], ["deferred", "ABORTED"]);
  assert.equal(server.connections(), 1);
  assert.equal((await transport.deliver(requestFor()))[0]?.result, "delivered");
  assert.equal(server.messages.length, 2);
  assert.ok(destroyed);
  const [late] = await transport.deliver(requestFor({ signal: AbortSignal.abort() }));
  assert.equal(late?.code, "ABORTED");
  await transport.deliver(requestFor());
  assert.equal(server.connections(), 2);
});

test("smtp: a connection that cannot be reset is given up for another connection", async () => {
  const server = await scripted((line) => {
    if (line === "RCPT TO:<no@x.test>") return "550 5.1.1 no";
    return line === "RSET" ? "500 5.5.1 what?" : undefined;
  });
  const transport = transportTo(server.port);
  await transport.deliver(requestFor({ recipients: ["no@x.test"] }));
  assert.equal((await transport.deliver(requestFor()))[0]?.result, "delivered");
  assert.equal(server.connections(), 2);
});

test("smtp: connections are left with QUIT", async () => {
  const server = await scripted();
  const transport = transportTo(server.port);
  await transport.deliver(requestFor());
  await transport.close();
  await server.said("QUIT");
});

test("smtp: an old server without EHLO is greeted with HELO", async () => {
  const server = await scripted((line) => (line.startsWith("EHLO") ? "502 5.5.1 what?" : undefined));
  const [outcome] = await transportTo(server.port).deliver(requestFor());
  assert.equal(outcome?.result, "delivered");
  assert.ok(server.lines.includes("HELO mx.example.test"));
});
