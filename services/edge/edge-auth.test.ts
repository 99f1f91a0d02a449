import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { promisify } from "node:util";
import { hashPassword } from "@millrace/auth";
import { startRedis, type TestRedis } from "@millrace/test/redis";
import { SmtpDialogue } from "@millrace/test/smtp-dialogue";
import { makeCertificate } from "./testing/certificate.ts";
import { binaryHeader, ipv4Addresses, tlsTlv } from "./testing/proxy-header.ts";
import { beginMessage, startTestEdge, type TestEdge, type TestEdgeOptions } from "./testing/test-edge.ts";
import { addUsers, authenticate, base64, plain } from "./testing/users.ts";

const SMTP_ENABLE_AUTH = "true";
const behindProxy = { SMTP_ENABLE_AUTH, SMTP_TLS_MODE: "proxy" };
const mx = makeCertificate("mx.example.test");
const withStarttls = {
  SMTP_ENABLE_AUTH,
  SMTP_ENABLE_TLS: "true",
  SMTP_TLS_CERT: mx.cert,
  SMTP_TLS_KEY: mx.key,
};

let redis: TestRedis;
before(async () => {
  redis = await startRedis();
  await addUsers(redis.url, { ann: { password: "pässword" }, bob: { password: "bob's" } });
});
after(() => redis?.stop());

type Context = { after(end: () => Promise<void>): void };

async function edgeWith(t: Context, env: Record<string, string>, options: TestEdgeOptions = {}) {
  const edge = await startTestEdge(redis.url, { ...options, env });
  t.after(() => edge.end());
  return edge;
}

/** A client after STARTTLS and EHLO, and what the edge offers it. */
async function secured(edge: TestEdge): Promise<[SmtpDialogue, string]> {
  const client = await edge.client();
  await client.send("STARTTLS");
  await client.expect("220 ");
  await client.secure();
  await client.send("EHLO client.example");
  return [client, await client.expect("250")];
}

test("STARTTLS: AUTH is offered and taken behind it, and neither before", async (t) => {
  const edge = await edgeWith(t, withStarttls);
  const clear = await SmtpDialogue.connect(edge.port);
  await clear.expect("220 ");
  await clear.send("EHLO client.example");
  assert.doesNotMatch(await clear.expect("250"), /AUTH/);
  for (const command of [`AUTH PLAIN ${plain("ann", "pässword")}`, "AUTH LOGIN", "auth plain"]) {
    await clear.send(command);
    await clear.expect("538 5.7.11 ");
  }
  await clear.send("MAIL FROM:<a@example.org>");
  await clear.expect("250 2.1.0");
  clear.destroy();

  const [client, offer] = await secured(edge);
  assert.match(offer, /^250[ -]AUTH PLAIN LOGIN$/m);
  await authenticate(client, "Ann", "pässword");
  await client.send("EHLO client.example");
  assert.doesNotMatch(await client.expect("250"), /AUTH/);
  await client.send(`AUTH PLAIN ${plain("bob", "bob's")}`);
  await client.expect("503 5.5.1 ");
  await beginMessage(client);
  await client.send("x", ".");
  const { manifest, field } = await edge.stored(await client.expect("250 2.0.0 "));
  assert.equal(manifest.envelope.user, "ann");
  assert.equal(manifest.envelope.protocol, "ESMTPSA");
  assert.match(field, /\swith ESMTPSA id /);
  await beginMessage(client, { parameters: " SMTPUTF8" });
  await client.send("x", ".");
  assert.equal((await edge.stored(await client.expect("250"))).manifest.envelope.protocol, "UTF8SMTPSA");
  client.destroy();
  const logged = JSON.stringify(edge.log);
  for (const secret of ["pässword", "bob's", plain("ann", "pässword")]) assert.ok(!logged.includes(secret));
});

test("implicit TLS: AUTH is offered at once", async (t) => {
  const certificate = { cert: mx.cert, key: mx.key, called: { cert: "cert", key: "key" } };
  const edge = await edgeWith(t, behindProxy, { listeners: [{ tls: "implicit", certificate }] });
  const client = await SmtpDialogue.connect(edge.port);
  await client.secure();
  await client.expect("220 ");
  await client.send("EHLO client.example");
  assert.match(await client.expect("250"), /AUTH PLAIN LOGIN/);
  await authenticate(client, "ann", "pässword");
  client.destroy();
});

test("behind a proxy: in the clear by its own word, AUTH is not taken, whatever the listener says", async (t) => {
  const proxied = { ...behindProxy, SMTP_PROXY_PROTOCOL_FROM: "127.0.0.1" };
  const edge = await edgeWith(t, proxied);
  const greet = async (...tlvs: Buffer[]): Promise<[SmtpDialogue, string]> => {
    const client = await SmtpDialogue.connect(edge.port);
    await client.write(binaryHeader(0x21, 0x11, ipv4Addresses, ...tlvs));
    await client.expect("220 ");
    await client.send("EHLO client.example");
    return [client, await client.expect("250")];
  };
  const [clear, nothing] = await greet(tlsTlv(0, 1));
  assert.doesNotMatch(nothing, /AUTH/);
  await clear.send(`AUTH PLAIN ${plain("ann", "pässword")}`);
  await clear.expect("538 5.7.11 ");
  clear.destroy();
  const [client, offer] = await greet(tlsTlv(1, 0));
  assert.match(offer, /AUTH PLAIN LOGIN/);
  await authenticate(client, "ann", "pässword");
  client.destroy();
});

test("a listener in the clear beside a secure one: AUTH is not taken there", async (t) => {
  const edge = await edgeWith(t, behindProxy, { listeners: [{ tls: "off" }, { tls: "proxy" }] });
  const client = await edge.client();
  await client.send(`AUTH PLAIN ${plain("ann", "pässword")}`);
  await client.expect("538 5.7.11 ");
  client.destroy();
});

test("without SMTP_ENABLE_AUTH there is none", async (t) => {
  const edge = await edgeWith(t, { SMTP_TLS_MODE: "proxy" });
  const client = await edge.client();
  await client.send("EHLO client.example");
  assert.doesNotMatch(await client.expect("250"), /AUTH/);
  await client.send(`AUTH PLAIN ${plain("ann", "pässword")}`);
  await client.expect("500 ");
  client.destroy();
});

test("LOGIN in its three lines and in two, PLAIN in two; a cancelled one, and those there are not", async (t) => {
  const edge = await edgeWith(t, behindProxy);
  const three = await edge.client();
  await three.send("AUTH LOGIN");
  await three.expect("334 VXNlcm5hbWU6");
  await three.send(base64("ann"));
  await three.expect("334 UGFzc3dvcmQ6");
  await three.send(base64("pässword"));
  await three.expect("235 2.7.0 ");
  const two = await edge.client();
  await two.send(`AUTH LOGIN ${base64("ann")}`);
  await two.expect("334 UGFzc3dvcmQ6");
  await two.send("*");
  await two.expect("501 ");
  await two.send("AUTH PLAIN");
  assert.equal(await two.expect("334"), "334");
  await two.send(plain("ann", "pässword"));
  await two.expect("235 2.7.0 ");
  const others = await edge.client();
  for (const mechanism of ["CRAM-MD5", "XOAUTH2", "XCLIENT", "ANONYMOUS", "EXTERNAL"]) {
    await others.send(`AUTH ${mechanism} ${base64("ann")}`);
    await others.expect("504 5.5.4 ");
  }
  for (const client of [three, two, others]) client.destroy();
});

test("535 for a wrong password, an unknown name, somebody else's, and nonsense, all alike", async (t) => {
  const edge = await edgeWith(t, { ...behindProxy, SMTP_AUTH_FAILURES_PER_CLIENT: "1000" });
  const client = await edge.client();
  const wrong = [plain("ann", "password"), plain("nobody", "pässword"), plain("ann", ""), plain("", "")];
  for (const token of [...wrong, plain("ann", "pässword", "bob"), plain("ann", "bob's")]) {
    await client.send(`AUTH PLAIN ${token}`);
    assert.equal(await client.expect("535 "), "535 5.7.8 Authentication credentials invalid");
  }
  await client.send(`AUTH PLAIN ${base64("no NUL in it")}`);
  await client.expect("501 ");
  await authenticate(client, "ann", "pässword");
  client.destroy();
});

test("AUTH comes after EHLO and before MAIL", async (t) => {
  const edge = await edgeWith(t, behindProxy);
  const old = await SmtpDialogue.connect(edge.port);
  await old.expect("220 ");
  await old.send("HELO client.example");
  await old.expect("250 ");
  await old.send(`AUTH PLAIN ${plain("ann", "pässword")}`);
  await old.expect("503 5.5.1 ");
  const client = await edge.client();
  await client.send("MAIL FROM:<a@example.org>", `AUTH PLAIN ${plain("ann", "pässword")}`, "RSET");
  await client.expect("250 2.1.0 ");
  await client.expect("503 5.5.1 ");
  await client.expect("250 ");
  await authenticate(client, "ann", "pässword");
  for (const each of [old, client]) each.destroy();
});

test("a base64 line that looks like DATA is still a line of AUTH", async (t) => {
  const edge = await edgeWith(t, behindProxy);
  const client = await edge.client();
  await client.send("AUTH LOGIN", "DATA");
  await client.expect("334 ");
  // Its octets are no name.
  await client.expect("501 ");
  await authenticate(client, "ann", "pässword");
  client.destroy();
});

test("users of a file, and the edge that is told of a broken one does not start", async (t) => {
  const file = join(mkdtempSync(join(tmpdir(), "millrace-users-")), "users");
  writeFileSync(file, `eve:${await hashPassword("e")}:eve@example.org\n`);
  const edge = await edgeWith(t, behindProxy, { auth: { file } });
  const client = await edge.client();
  await authenticate(client, "ann", "pässword", "535 5.7.8 ");
  await authenticate(client, "eve", "e");
  await client.send("MAIL FROM:<ann@example.org>");
  await client.expect("553 5.7.1 ");
  client.destroy();
  writeFileSync(file, "eve:e\n");
  await assert.rejects(startTestEdge(redis.url, { env: behindProxy, auth: { file } }), /line 1/);
});

test("swaks authenticates over STARTTLS, with PLAIN and with LOGIN", async (t) => {
  const edge = await edgeWith(t, withStarttls);
  for (const mechanism of ["PLAIN", "LOGIN"]) {
    const words = ["--server", `127.0.0.1:${edge.port}`, "--tls", "--ehlo", "client.example"];
    const mail = ["--from", "ann@example.org", "--to", "user@example.com"];
    const who = ["--auth", mechanism, "--auth-user", "bob", "--auth-password", "bob's"];
    const { stdout } = await promisify(execFile)("swaks", [...words, ...mail, ...who], {
      env: { PATH: "/usr/bin:/bin" },
    });
    const reply = /250 2\.0\.0 Ok: queued as \S+/.exec(stdout)?.[0] ?? stdout;
    assert.equal((await edge.stored(reply)).manifest.envelope.user, "bob");
  }
});
