import assert from "node:assert/strict";
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { ConfigError, loadConfig } from "./config.ts";

const root = mkdtempSync(join(tmpdir(), "millrace-proxy-"));

test("without a proxy nothing of it is there", async () => {
  const { proxy, listeners, health, settings } = await loadConfig({ UP_PROXY_SMTPS_PORT: "465" }, root);
  assert.deepEqual([proxy, health, listeners.length], [undefined, undefined, 1]);
  assert.equal(settings.SMTP_DRAIN_SECONDS, 0);
});

test("with one, each edge has two listeners more, for 127.0.0.1 alone, and says how it is", async () => {
  const config = await loadConfig({ UP_PROXY: "haproxy", EDGE_NUMBER: "2" }, root);
  const own = config.listeners.slice(1);
  assert.deepEqual(
    own.map(({ host, port, tls, proxies }) => [host, port, tls, proxies]),
    [
      ["127.0.0.1", 10_466, "proxy", ["127.0.0.1"]],
      ["127.0.0.1", 10_588, "starttls", ["127.0.0.1"]],
    ],
  );
  assert.equal(own[1]?.certificate?.cert, `${root}/var/proxy/self-made.pem`);
  assert.equal(config.proxy?.selfMade, true);
  assert.deepEqual(config.health, { host: "127.0.0.1", port: 9526 });
  assert.equal(config.settings.SMTP_DRAIN_SECONDS, 5);
});

test("what is set stays as it is set", async () => {
  const env = { UP_PROXY: "nginx", HEALTH_PORT: "9000", SMTP_DRAIN_SECONDS: "0" };
  const { health, settings } = await loadConfig(env, root);
  assert.deepEqual([health?.port, settings.SMTP_DRAIN_SECONDS], [9_000, 0]);
});

test("a certificate of one's own is the proxy's and the edges', its key beside it or in it", async () => {
  for (const name of ["both.pem", "cert.pem", "key.pem"]) writeFileSync(join(root, name), "");
  const together = await loadConfig({ UP_PROXY: "haproxy", UP_PROXY_CERT: "both.pem" }, root);
  const both = join(root, "both.pem");
  assert.deepEqual([together.proxy?.certificate.cert, together.proxy?.certificate.key], [both, both]);
  assert.equal(together.proxy?.selfMade, false);
  const env = { UP_PROXY: "haproxy", UP_PROXY_CERT: "cert.pem", UP_PROXY_KEY: "key.pem" };
  const apart = (await loadConfig(env, root)).listeners.at(-1)?.certificate;
  assert.deepEqual([apart?.cert, apart?.key], [join(root, "cert.pem"), join(root, "key.pem")]);
});

for (const [env, wanted] of [
  [{ UP_PROXY_CERT: "./gone.pem" }, /UP_PROXY_CERT=\.\/gone\.pem: there is no such file; name a PEM file/],
  [{ UP_PROXY_KEY: "./key.pem" }, /UP_PROXY_KEY=\.\/key\.pem, but UP_PROXY_CERT is not set/],
  [{ UP_PROXY_STARTTLS_PORT: "4650" }, /UP_PROXY_STARTTLS_PORT=4650 is UP_PROXY_SMTPS_PORT as well/],
  [{ UP_PROXY: "squid" }, /UP_PROXY="squid" is not allowed: give a one of haproxy, nginx/],
  [{ SMTP_PORT: "10465" }, /UP_PROXY_EDGE_PORT=10465: SMTP_PORT is the same/],
] as const) {
  test(`${Object.entries(env)} is refused with its cure`, async () => {
    await assert.rejects(loadConfig({ UP_PROXY: "haproxy", ...env }, root), (error) => {
      assert.ok(error instanceof ConfigError);
      assert.match(error.message, wanted);
      return true;
    });
  });
}
