import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { chmodSync, copyFileSync, mkdirSync, mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { promisify } from "node:util";
import { certificate } from "../support/certificate.ts";
import { freePort } from "../support/free-port.ts";
import { hookedEdge } from "../support/hooked-edge.ts";
import { pathOfOwnNginx } from "../support/own-nginx.ts";
import { serverPath, startProxy } from "../support/proxy-process.ts";
import { noop, shownCertificate } from "../support/shown-certificate.ts";
import { until } from "../support/until.ts";

const run = promisify(execFile);
const name = "mx.example.test";

describe("a certificate is renewed while sessions are open", () => {
  const folder = mkdtempSync(join(tmpdir(), "millrace-hook-"));
  // nginx's workers run as somebody else.
  chmodSync(folder, 0o755);
  const lineage = join(folder, "live", name);
  mkdirSync(lineage, { recursive: true });
  renew();
  const tls = join(folder, "tls");
  const millrace = hookedEdge(name, tls, { LOG_LEVEL: "info" });

  before(async () => {
    await hook("edge", ["--cert", tls, "--group", String((await run("id", ["-gn"])).stdout.trim())]);
    await millrace.up();
  });
  after(async () => {
    await millrace.remove();
    await rm(folder, { recursive: true, force: true });
  });

  /** Puts a new certificate where certbot does. */
  function renew(): void {
    const { cert, key } = certificate(folder, name);
    copyFileSync(cert, join(lineage, "fullchain.pem"));
    // certbot's files have blank lines between certificates.
    writeFileSync(join(lineage, "privkey.pem"), `\n${readFileSync(key, "utf8")}\n`);
  }

  /** Has a hook printed, and runs it as certbot does. */
  async function hook(who: string, words: string[], env: Record<string, string> = {}) {
    const file = join(folder, `hook-${who}`);
    const printed = await millrace.run([
      ...["certbot-hook", who, "--hostname", name, ...words],
      ...["--check", "--out", file],
    ]);
    assert.equal(printed.status, 0, printed.stderr);
    return run(file, { env: { ...serverPath, RENEWED_LINEAGE: lineage, ...env } });
  }

  /** Renews, runs `deploy`, and wants old sessions to live and new ones to see the new certificate. */
  async function renewed(port: number, deploy: () => Promise<unknown>): Promise<void> {
    const old = await shownCertificate(port, name);
    renew();
    await deploy();
    let serial = old.serial;
    await until(async () => {
      const one = await shownCertificate(port, name);
      one.socket.destroy();
      serial = one.serial;
      return serial !== old.serial;
    });
    const { stdout } = await run("openssl", [
      "x509",
      "-in",
      join(lineage, "fullchain.pem"),
      "-noout",
      "-serial",
    ]);
    assert.equal(stdout.trim(), `serial=${serial}`);
    assert.match(await noop(old.socket), /^250 /);
    old.socket.destroy();
  }

  test("an edge that ends TLS itself: one link changes both files", async () => {
    const group = (await run("id", ["-gn"])).stdout.trim();
    const deploy = () => hook("edge", ["--cert", tls, "--group", group]);
    await renewed(millrace.ports[1] as number, deploy);
    await renewed(millrace.ports[1] as number, deploy);
    const { stdout } = await run("ls", [tls]);
    assert.equal(stdout.trim().split("\n").length, 3, stdout);
    assert.doesNotMatch(millrace.output, /certificate.*(cannot|kept)/);
  });

  test("HAProxy: into the file, and through its socket", async () => {
    const pem = join(folder, "haproxy.pem");
    const socket = join(folder, "haproxy.sock");
    const words = ["--cert", pem, "--socket", socket];
    const { stderr } = await hook("haproxy", words);
    assert.match(stderr, /no socket .*: HAProxy reads .* when it is reloaded/);
    const file = join(folder, "haproxy.cfg");
    const port = await freePort();
    const { status, stderr: said } = await millrace.run([
      ...["proxy", "haproxy", "--cert", pem, "--listen", "127.0.0.1", "--smtps-port", String(port)],
      ...[
        "--edge",
        `127.0.0.1:${millrace.port}`,
        "--stats-port",
        "0",
        "--unprivileged",
        folder,
        "--out",
        file,
      ],
    ]);
    assert.equal(status, 0, said);
    const haproxy = await startProxy(["haproxy", "-db", "-f", file], [port]);
    try {
      await renewed(port, () => hook("haproxy", words));
      const before = readFileSync(pem, "utf8");
      // A key of another certificate: nothing changes, and certbot reports it.
      copyFileSync(certificate(folder, "other.example.test").key, join(lineage, "privkey.pem"));
      await assert.rejects(hook("haproxy", words), /key and certificate are no pair/);
      assert.equal(readFileSync(pem, "utf8"), before);
    } finally {
      await haproxy.stop();
    }
  });

  test("nginx: by a reload", async () => {
    renew();
    const file = join(folder, "nginx.conf");
    const port = await freePort();
    const { status, stderr } = await millrace.run([
      ...["proxy", "nginx", "--cert", join(lineage, "fullchain.pem"), "--listen", "127.0.0.1"],
      ...["--smtps-port", String(port), "--edge", `127.0.0.1:${millrace.port}`],
      ...["--unprivileged", folder, "--out", file],
    ]);
    assert.equal(status, 0, stderr);
    const PATH = pathOfOwnNginx(folder, file);
    const nginx = await startProxy(["nginx", "-e", "stderr", "-c", file], [port]);
    try {
      await renewed(port, () => hook("nginx", [], { PATH }));
    } finally {
      await nginx.stop();
    }
  });

  test("certificates of other names are none of its business", async () => {
    const before = readFileSync(join(tls, "current/fullchain.pem"), "utf8");
    const other = join(folder, "live/other.example.test");
    mkdirSync(other);
    const words = ["--cert", tls, "--group", "no-such-group"];
    await hook("edge", words, { RENEWED_LINEAGE: other });
    assert.equal(readFileSync(join(tls, "current/fullchain.pem"), "utf8"), before);
  });
});
