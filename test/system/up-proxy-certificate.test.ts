import assert from "node:assert/strict";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { after, before, describe, test } from "node:test";
import { connect } from "node:tls";
import { certificate } from "../support/certificate.ts";
import type { Installation } from "../support/millrace.ts";
import {
  bothDoors,
  isRunning,
  type ProxyPorts,
  proxiedInstallation,
  proxyPid,
  session,
} from "../support/proxied-installation.ts";
import { noop } from "../support/shown-certificate.ts";
import { until } from "../support/until.ts";

for (const kind of ["haproxy", "nginx"] as const) {
  describe(`millrace up --proxy ${kind} with a certificate of one's own`, () => {
    let millrace: Installation;
    let ports: ProxyPorts;
    let cert: string;

    before(async () => {
      ({ millrace, ports } = await proxiedInstallation({ SMTP_MAX_CLIENTS: "20" }));
      const made = certificate(millrace.folder, "mx.example.test");
      cert = made.cert;
      // HAProxy's way is one file, nginx's are two; both take both.
      const words = kind === "haproxy" ? ["--cert", made.both] : ["--cert", made.cert, "--key", made.key];
      await millrace.up("--proxy", kind, ...words);
    });
    after(() => millrace.remove());

    test("swaks delivers through both ports, trusting its authority", async () => {
      await bothDoors(millrace, ports, ["127.0.0.85", "127.0.0.86"]);
      const trusted = await session(ports.smtps, { ca: readFileSync(cert) });
      assert.ok(trusted.authorized);
      trusted.destroy();
    });

    test("one that is renewed is read again, and open sessions go on", async () => {
      const old = await session(ports.smtps);
      const { serialNumber } = old.getPeerCertificate();
      certificate(millrace.folder, "mx.example.test");
      await until(async () => {
        const one = await session(ports.smtps);
        const shown = one.getPeerCertificate().serialNumber;
        one.destroy();
        return shown !== serialNumber;
      });
      assert.match(await noop(old), /^250 /);
      old.destroy();
    });

    test("more sessions than the edge holds: the client reads 421 through the proxy's TLS", async () => {
      const held = await Promise.all(Array.from({ length: 20 }, () => session(ports.smtps)));
      const next = connect({ port: ports.smtps, host: "127.0.0.1", rejectUnauthorized: false });
      assert.match(String((await once(next, "data"))[0]), /^421 /);
      for (const each of held) assert.match(await noop(each), /^250 /);
      for (const each of [...held, next]) each.destroy();
    });

    test("kill -9: it is started again, and serves", async () => {
      const pid = proxyPid(millrace);
      process.kill(pid, "SIGKILL");
      await until(() => proxyPid(millrace) !== pid);
      await bothDoors(millrace, ports, ["127.0.0.87", "127.0.0.88"]);
    });

    test("Ctrl-C ends it", async () => {
      const pid = proxyPid(millrace);
      assert.equal(await millrace.down(), 0);
      assert.ok(!isRunning(pid));
    });
  });
}

describe("what is wrong with a proxy is said in one line", () => {
  for (const [words, env, status, wanted] of [
    [["--cert", "x.pem"], {}, 69, /--cert x\.pem is for a proxy: give --proxy haproxy as well/],
    [["--proxy", "squid"], {}, 1, /'squid' is invalid.*haproxy, nginx/],
    [["--proxy", "haproxy", "--cert", "gone.pem"], {}, 78, /UP_PROXY_CERT=gone\.pem: there is no such file/],
    [
      ["--proxy", "haproxy"],
      { MILLRACE_DATA_DIR: "./two words" },
      69,
      /MILLRACE_DATA_DIR=.*two words is a path that haproxy's configuration cannot hold: choose one of letters/,
    ],
    [
      ["--proxy", "haproxy"],
      { UP_PROXY_HOST: "192.0.2.1" },
      69,
      /UP_PROXY_HOST=192\.0\.2\.1 is no address of this machine/,
    ],
  ] as const) {
    test(`${words.join(" ")} ${JSON.stringify(env)}`, async () => {
      const { millrace } = await proxiedInstallation(env);
      try {
        const result = await millrace.run(["up", ...words]);
        assert.match(result.stderr, wanted);
        assert.equal(result.status, status);
        assert.throws(() => millrace.pidOf("redis"), "redis is left running");
      } finally {
        await millrace.remove();
      }
    });
  }
});
