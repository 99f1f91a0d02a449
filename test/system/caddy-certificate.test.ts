import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { globSync, readFileSync, writeFileSync } from "node:fs";
import { basename, resolve } from "node:path";
import { after, afterEach, before, describe, test } from "node:test";
import type { TLSSocket } from "node:tls";
import { promisify } from "node:util";
import { caddy, caddyFolder, noCaddy, reloadCaddy } from "../support/caddy.ts";
import { certificate } from "../support/certificate.ts";
import { freePort } from "../support/free-port.ts";
import { HeldSessions } from "../support/held-sessions.ts";
import { startPebble } from "../support/pebble.ts";
import { ProxiedEdges, wordsFor } from "../support/proxied-edges.ts";
import { startProxy } from "../support/proxy-process.ts";
import { until } from "../support/until.ts";

const run = promisify(execFile);
const golden = resolve(import.meta.dirname, "../../services/cli/proxy/golden");

describe("the Caddyfile and the certificates of Caddy with caddy-l4", { skip: noCaddy }, () => {
  const proxied = new ProxiedEdges();
  const sessions = new HeldSessions();

  before(() => proxied.up(1));
  afterEach(() => sessions.end());
  after(() => proxied.remove());

  const edgeOptions = () => proxied.upstreams("--edge", "behindTls");

  for (const file of globSync(`${golden}/*.Caddyfile`)) {
    test(`${basename(file)} is formatted as Caddy formats it`, async () => {
      assert.equal(readFileSync(file, "utf8"), (await run(caddy, ["fmt", file])).stdout);
      await run(caddy, ["adapt", "--adapter", "caddyfile", "--config", file]);
    });
  }

  test("what Caddy finds fault with is not printed, and the cure for the likeliest fault is told", async () => {
    const words = ["proxy", "caddy", "--cert", "/no/such.pem", "--check"];
    const { status, stdout, stderr } = await proxied.millrace.run(words, { PATH: caddyFolder });
    assert.equal(status, 1);
    assert.equal(stdout.toString(), "");
    assert.match(
      stderr,
      /\/no\/such\.pem[\s\S]*--check: caddy finds fault .*must have caddy-l4: xcaddy build/,
    );
  });

  test("a client that names no server, or another one, is shown the certificate all the same", async () => {
    const { ports, stop } = await proxied.started("caddy", ...edgeOptions());
    try {
      for (const servername of ["", "mx.example.net"]) {
        const { subject } = (await sessions.open(ports.smtps, { servername })).getPeerCertificate();
        assert.equal(subject.CN, "mx.example.test");
      }
    } finally {
      await stop();
    }
  });

  test("a certificate of one's own is read again at a reload with --force, and sessions go on", async () => {
    const { ports, file, stop } = await proxied.started("caddy", ...edgeOptions());
    try {
      await sessions.openMany(3, ports.smtps);
      const before = serialOf(sessions.all[0]);
      certificate(proxied.folder, "mx.example.test");
      // To Caddy nothing has changed: its own file is the same.
      await reloadCaddy(file);
      assert.equal(serialOf(await sessions.open(ports.smtps)), before);
      await reloadCaddy(file, "--force");
      const serial = serialOf(await sessions.open(ports.smtps));
      const words = ["x509", "-in", proxied.mx.cert, "-noout", "-serial"];
      assert.equal((await run("openssl", words)).stdout.trim(), `serial=${serial}`);
      assert.notEqual(serial, before);
      await sessions.wantAlive();
    } finally {
      await stop();
    }
  });

  test("Caddy obtains its certificate by ACME and renews it, and sessions go on", async () => {
    const ports = { smtps: await freePort(), starttls: await freePort() };
    const challenges = { http: await freePort(), tls: await freePort() };
    const pebble = await startPebble(proxied.folder, challenges, 20);
    try {
      const file = await proxied.printed(
        ...(["caddy", ports, ...edgeOptions(), "--acme", pebble.directory] as const),
        ...["--acme-root", pebble.serverRoot],
        ...["--http-port", String(challenges.http), "--https-port", String(challenges.tls)],
      );
      // It looks every ten minutes otherwise, which is too rare for certificates of twenty seconds.
      const text = readFileSync(file, "utf8");
      writeFileSync(file, text.replace("\tlayer4 {", "\trenew_interval 1s\n\n\tlayer4 {"));
      const { stop } = await startProxy(wordsFor("caddy", file), [ports.smtps]);
      try {
        const verified = { ca: await pebble.issuedRoot() };
        const opened = () => sessions.open(ports.smtps, verified).catch(() => undefined);
        // Until there is a certificate that this root vouches for.
        await until(async () => (await opened()) !== undefined);
        await sessions.openMany(2, ports.smtps);
        await until(async () => {
          const latest = await opened();
          if (latest && serialOf(latest) !== serialOf(sessions.all[0])) return true;
          if (latest) sessions.all.pop()?.destroy();
          return false;
        });
        await sessions.wantAlive();
        const { client } = await proxied.delivered("127.0.0.75", ports.smtps, "--tls-on-connect");
        assert.equal(client, "127.0.0.75");
      } finally {
        await stop();
      }
    } finally {
      await pebble.stop();
    }
  });
});

function serialOf(socket: TLSSocket | undefined): string {
  return socket?.getPeerCertificate().serialNumber ?? "";
}
