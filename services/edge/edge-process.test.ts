import assert from "node:assert/strict";
import { once } from "node:events";
import { cpSync, mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { connect } from "node:tls";
import { startRedis, type TestRedis } from "@millrace/test/redis";
import { SmtpDialogue } from "@millrace/test/smtp-dialogue";
import { until } from "@millrace/test/until";
import { makeCertificate } from "./testing/certificate.ts";
import { type EdgeProcess, startEdgeProcess } from "./testing/edge-process.ts";
import { beginMessage } from "./testing/test-edge.ts";

let redis: TestRedis;
before(async () => {
  redis = await startRedis();
});
after(() => redis?.stop());

/** One that ends with the test, if not before. */
async function edgeProcess(
  t: { after(end: () => Promise<void>): void },
  ...words: [config: Record<string, unknown>, env?: Record<string, string>]
): Promise<EdgeProcess> {
  const edge = await startEdgeProcess(redis.url, ...words);
  t.after(async () => {
    edge.process.kill("SIGKILL");
    await edge.ended;
  });
  return edge;
}

test("SIGHUP has the certificates read again at once, and no session dropped", async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "millrace-hup-"));
  const [first, second] = [makeCertificate("mx.example.test"), makeCertificate("mx.example.test")];
  cpSync(first.folder, folder, { recursive: true });
  const [cert, key] = [join(folder, "cert.pem"), join(folder, "key.pem")];
  const edge = await edgeProcess(t, { listeners: [{ port: 0, tls: "implicit", cert, key }] });
  const serial = async () => {
    const socket = connect({ port: edge.ports[0] as number, host: "127.0.0.1", rejectUnauthorized: false });
    await once(socket, "secureConnect");
    const { serialNumber } = socket.getPeerCertificate();
    socket.destroy();
    return serialNumber;
  };
  const live = await SmtpDialogue.connect(edge.ports[0] as number);
  await live.secure();
  await live.expect("220 ");
  const before = await serial();

  const told = () => edge.log.map(({ msg }) => msg);
  const hangUp = async (times: number) => {
    edge.process.kill("SIGHUP");
    await until(() => told().filter((line) => line === "certificates read again").length === times);
  };
  cpSync(second.cert, cert);
  await hangUp(1);
  assert.ok(told().includes("kept the certificate from before"));
  assert.equal(await serial(), before);
  cpSync(second.key, key);
  await hangUp(2);
  assert.ok(told().includes("certificate loaded again"));
  assert.notEqual(await serial(), before);
  await live.send("NOOP");
  await live.expect("250 ");
  live.destroy();
});

test("a route that makes an open relay is warned of at the start", async (t) => {
  const routes = [{ recipients: "*", to: { smtp: "smtp://smarthost.test" } }];
  const warned = async (listener: object) => {
    const { log } = await edgeProcess(t, { listeners: [{ port: 0, ...listener }], routes });
    // Its log comes another way than its word that it is ready.
    await until(() => log.some(({ msg }) => msg === "ready"));
    return log.filter(({ msg }) => String(msg).startsWith('routes[0] takes "*" and leads to smtp')).length;
  };
  assert.equal(await warned({ proxyProtocol: { from: "127.0.0.1" } }), 1);
  assert.equal(await warned({}), 0);
});

test("SIGTERM: not ready at once, serving on; then no new sessions, messages finished, 421 to the rest, the end", async (t) => {
  const edge = await edgeProcess(t, { listeners: [{ port: 0 }] }, { SMTP_DRAIN_SECONDS: "2" });
  const [port] = edge.ports as [number];
  const health = async (path: string) => (await fetch(`${edge.health}${path}`)).status;
  assert.deepEqual([await health("/healthz"), await health("/readyz")], [200, 200]);
  const sending = await SmtpDialogue.greeted(port);
  await beginMessage(sending);
  await sending.send("first half");
  const idle = await SmtpDialogue.greeted(port);

  edge.process.kill("SIGTERM");
  await until(async () => (await health("/readyz")) === 503);
  assert.equal(await (await fetch(`${edge.health}/readyz`)).text(), "draining\n");
  assert.equal(await health("/healthz"), 200);
  // The balancer has not noticed yet: who comes now is served like anybody.
  const late = await SmtpDialogue.greeted(port);
  await beginMessage(late);
  await late.send("late", ".");
  await late.expect("250 2.0.0 ");
  await idle.send("NOOP");
  await idle.expect("250 ");

  for (const client of [idle, late]) {
    await client.expect("421 4.3.2 ");
    await client.expectClosed();
  }
  await assert.rejects(SmtpDialogue.connect(port), { code: "ECONNREFUSED" });
  assert.equal(await health("/readyz"), 503);
  await sending.send("second half", ".");
  await sending.expect("250 2.0.0 ");
  await sending.expect("421 4.3.2 ");
  await sending.expectClosed();
  assert.equal(await edge.ended, 0);
});

test("SIGTERM: a client that never ends its message holds nobody up for ever", async (t) => {
  const edge = await edgeProcess(t, { listeners: [{ port: 0 }] });
  const client = await SmtpDialogue.greeted(edge.ports[0] as number);
  await beginMessage(client);
  await client.send("and then");
  edge.process.kill("SIGTERM");
  await client.expect("421 4.3.2 ", 60_000);
  await client.expectClosed();
  assert.equal(await edge.ended, 0);
});
