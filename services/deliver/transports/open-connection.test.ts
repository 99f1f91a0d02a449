import assert from "node:assert/strict";
import { once } from "node:events";
import { type AddressInfo, createServer, type Socket } from "node:net";
import { test } from "node:test";
import { TLSSocket } from "node:tls";
import type { SMTPServerOptions } from "smtp-server";
import { selfSigned } from "./testing/certificate.ts";
import { requestFor } from "./testing/request.ts";
import { atEnd, scripted, serverWith, transportTo } from "./testing/smtp-servers.ts";

const certificate = selfSigned();

const withTls = { ...certificate, disabledCommands: ["AUTH"] };

test("smtp: STARTTLS is used when offered, and any certificate will do", async () => {
  const { mails, port } = await serverWith(withTls);
  const [outcome] = await transportTo(port).deliver(requestFor());
  assert.equal(outcome?.result, "delivered");
  assert.equal(mails[0]?.secure, true);
});

test("smtp: with tls off STARTTLS is left alone", async () => {
  const { mails, port } = await serverWith(withTls);
  await transportTo(port, { tls: "off" }).deliver(requestFor());
  assert.equal(mails[0]?.secure, false);
});

test("smtp: opportunistic goes on in clear where TLS does not work", async () => {
  for (const answer of ["454 4.7.0 not now", { reply: "220 go on", thenClose: true as const }]) {
    const server = await scripted((line) => (line === "STARTTLS" ? answer : undefined), ["STARTTLS"]);
    const [outcome] = await transportTo(server.port).deliver(requestFor());
    assert.equal(outcome?.result, "delivered");
    assert.equal(server.lines.filter((line) => line === "STARTTLS").length, 1);
  }
});

test("smtp: required without STARTTLS is deferred, and nothing is sent", async () => {
  const server = await scripted();
  const [outcome] = await transportTo(server.port, { tls: "required" }).deliver(requestFor());
  assert.deepEqual([outcome?.result, outcome?.code], ["deferred", "TLS"]);
  assert.deepEqual(
    server.lines.filter((line) => line.startsWith("MAIL")),
    [],
  );
});

test("smtp: required checks the certificate, unless insecureTls", async () => {
  const { mails, port } = await serverWith(withTls);
  const [outcome] = await transportTo(port, { tls: "required" }).deliver(requestFor());
  assert.deepEqual([outcome?.result, outcome?.code], ["deferred", "TLS"]);
  assert.match(outcome?.reply ?? "", /self-signed/);
  await transportTo(port, { tls: "required", insecureTls: true }).deliver(requestFor());
  assert.equal(mails.length, 1);
});

test("smtp: smtps is encrypted from the start, and checks the certificate, unless insecureTls", async () => {
  const { mails, port } = await serverWith({ ...withTls, secure: true });
  const smtp = `smtps://127.0.0.1:${port}`;
  const [outcome] = await transportTo(port, { smtp }).deliver(requestFor());
  assert.deepEqual([outcome?.result, outcome?.code], ["deferred", "TLS"]);
  await transportTo(port, { smtp, insecureTls: true }).deliver(requestFor());
  assert.equal(mails[0]?.secure, true);
});

test("smtp: what is said in clear behind STARTTLS is not listened to", async () => {
  const heard: string[] = [];
  const server = createServer((plain) => {
    let socket: Socket = plain;
    const onData = (chunk: Buffer) => {
      for (const line of chunk.toString().split("\r\n").filter(Boolean)) {
        heard.push(line);
        if (line === "STARTTLS") {
          plain.off("data", onData).write("220 go on\r\n250 SMTPUTF8\r\n250-SMTP");
          socket = new TLSSocket(plain, { isServer: true, ...certificate });
          socket.on("data", onData).on("error", () => {});
        } else if (line.startsWith("EHLO")) {
          socket.write(socket === plain ? "250-x\r\n250-SMTPUTF8\r\n250 STARTTLS\r\n" : "250 x\r\n");
        } else socket.write(line === "DATA" ? "354 go on\r\n" : "250 ok\r\n");
        if (line === "DATA") socket.off("data", onData).once("data", () => socket.write("250 ok\r\n"));
      }
    };
    plain.on("data", onData).on("error", () => {});
    plain.write("220 x\r\n");
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  atEnd(() => server.close());
  const [outcome] = await transportTo((server.address() as AddressInfo).port).deliver(
    requestFor({ envelope: { smtputf8: true } }),
  );
  assert.deepEqual([outcome?.result, outcome?.reply], ["delivered", "250 ok"]);
  assert.equal(heard.filter((line) => line.startsWith("EHLO")).length, 2);
  assert.ok(heard.includes("MAIL FROM:<from@example.com>"));
});

const auth: SMTPServerOptions = {
  ...certificate,
  disabledCommands: [],
  onAuth: ({ username, password }, _session, done) =>
    username === "u@x" && password === "p:w" ? done(null, { user: "u" }) : done(new Error("no")),
};

test("smtp: user and password are sent over TLS, by PLAIN or LOGIN", async () => {
  for (const authMethods of [["PLAIN"], ["LOGIN"]]) {
    const { mails, port } = await serverWith({ ...auth, authMethods });
    const [outcome] = await transportTo(port, {
      smtp: `smtp://u%40x@127.0.0.1:${port}`,
      password: "p:w",
    }).deliver(requestFor());
    assert.equal(outcome?.result, "delivered");
    assert.equal(mails[0]?.user, "u");
  }
});

test("smtp: a refused password is deferred", async () => {
  const { port } = await serverWith(auth);
  const [outcome] = await transportTo(port, { smtp: `smtp://u%40x:wrong@127.0.0.1:${port}` }).deliver(
    requestFor(),
  );
  assert.deepEqual([outcome?.result, outcome?.code], ["deferred", "AUTH"]);
  assert.match(outcome?.reply ?? "", /535/);
  assert.doesNotMatch(outcome?.reply ?? "", /wrong/);
});

test("smtp: a password does not go in clear, unless tls is off", async () => {
  const server = await scripted(
    (line) => (line.startsWith("AUTH") ? "235 2.7.0 welcome" : undefined),
    ["AUTH PLAIN"],
  );
  const smtp = `smtp://u:p@127.0.0.1:${server.port}`;
  const [refused] = await transportTo(server.port, { smtp }).deliver(requestFor());
  assert.deepEqual([refused?.result, refused?.code], ["deferred", "TLS"]);
  assert.ok(!server.lines.some((line) => line.startsWith("AUTH")));
  const [taken] = await transportTo(server.port, { smtp, tls: "off" }).deliver(requestFor());
  assert.equal(taken?.result, "delivered");
});
