import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { StartError } from "@millrace/service";
import { startRedis, type TestRedis } from "@millrace/test/redis";
import { SmtpDialogue } from "@millrace/test/smtp-dialogue";
import { beginMessage, startTestEdge, type TestEdge } from "./testing/test-edge.ts";

const SMTP_TLS_CERT = join(import.meta.dirname, "testing/mx-cert.pem");
const SMTP_TLS_KEY = join(import.meta.dirname, "testing/mx-key.pem");
const withTls = { SMTP_ENABLE_TLS: "true", SMTP_TLS_CERT, SMTP_TLS_KEY };

let redis: TestRedis;
let edge: TestEdge;
before(async () => {
  redis = await startRedis();
  edge = await startTestEdge(redis.url, { env: withTls });
});
after(async () => {
  await edge?.end();
  await redis?.stop();
});

test("a message over STARTTLS, with the certificate that is configured", async () => {
  const client = await SmtpDialogue.connect(edge.port);
  await client.expect("220 ");
  await client.send("EHLO client.example");
  assert.match(await client.expect("250"), /\bSTARTTLS\b/);
  await client.send("STARTTLS");
  await client.expect("220 ");
  const socket = await client.secure();
  const presented = socket.getPeerX509Certificate()?.toString().trim();
  assert.equal(presented, readFileSync(SMTP_TLS_CERT, "utf8").trim());
  await client.send("EHLO client.example");
  assert.doesNotMatch(await client.expect("250"), /STARTTLS|REQUIRETLS|AUTH/);
  await client.send("MAIL FROM:<a@example.org> REQUIRETLS");
  await client.expect("555 5.5.4 ");
  await beginMessage(client);
  await client.send("x", ".");
  const { manifest, field } = await edge.stored(await client.expect("250 2.0.0 "));
  assert.equal(manifest.envelope.protocol, "ESMTPS");
  assert.equal(manifest.envelope.tls?.version, socket.getProtocol());
  assert.equal(manifest.envelope.tls?.cipher, socket.getCipher().name);
  assert.match(field, /\swith ESMTPS id /);
  client.destroy();
});

test("case 8: commands sent behind STARTTLS in the clear are dropped", async () => {
  const client = await edge.client();
  await client.send("STARTTLS", "EHLO injected.example", "MAIL FROM:<evil@example.org>");
  await client.expect("220 ");
  // The handshake fails when the server answers one of them in the clear; after it, none must have run.
  await client.secure();
  await client.send("RCPT TO:<a@example.com>");
  await client.expect("503 5.5.1 ");
  client.destroy();
});

test("case 9: a transaction from before STARTTLS is gone after it", async () => {
  const client = await edge.client();
  await client.send("MAIL FROM:<a@example.org>", "STARTTLS");
  await client.expect("250 2.1.0 ");
  await client.expect("220 ");
  await client.secure();
  await client.send("RCPT TO:<a@example.com>");
  await client.expect("503 5.5.1 ");
  await client.send("EHLO client.example", "RCPT TO:<a@example.com>");
  await client.expect("250");
  await client.expect("503 5.5.1 ");
  client.destroy();
});

test("case 10: STARTTLS takes no argument", async () => {
  const client = await edge.client();
  await client.send("STARTTLS now");
  await client.expect("501 5.5.4 ");
  client.destroy();
});

test("a client that never finishes its handshake is cut off, and the edge lives on", async () => {
  const hasty = await startTestEdge(redis.url, { env: { ...withTls, SMTP_COMMAND_TIMEOUT_SECONDS: "1" } });
  const client = await hasty.client();
  await client.send("STARTTLS");
  await client.expect("220 ");
  await client.expectClosed();
  const next = await hasty.client();
  next.destroy();
  await hasty.end();
});

test("a certificate and a key that do not belong together are refused at the start", async () => {
  const env = { ...withTls, SMTP_TLS_CERT: SMTP_TLS_KEY };
  await assert.rejects(startTestEdge(redis.url, { env }), (error) => {
    return error instanceof StartError && error.message.startsWith(`SMTP_TLS_CERT=${SMTP_TLS_KEY} and `);
  });
});
