import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { chmodSync, mkdtempSync, readFileSync } from "node:fs";
import { rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { promisify } from "node:util";
import { freePort } from "../support/free-port.ts";
import { hookedEdge } from "../support/hooked-edge.ts";
import { pathOfOwnNginx } from "../support/own-nginx.ts";
import { type Pebble, startPebble } from "../support/pebble.ts";
import { type ProxyProcess, serverPath, startProxy } from "../support/proxy-process.ts";
import { noop, type ShownCertificate, shownCertificate } from "../support/shown-certificate.ts";
import { until } from "../support/until.ts";

const run = promisify(execFile);
const name = "mx.example.test";
/** In seconds: as long as Let's Encrypt's. */
const ninetyDays = 90 * 86_400;

describe("certbot renews a certificate that HAProxy, nginx and an edge show", () => {
  const folder = mkdtempSync(join(tmpdir(), "millrace-certbot-"));
  // nginx's workers run as somebody else.
  chmodSync(folder, 0o755);
  const letsEncrypt = join(folder, "letsencrypt");
  const lineage = join(letsEncrypt, "live", name);
  const hooks = join(letsEncrypt, "renewal-hooks/deploy");
  const tls = join(folder, "tls");
  const pem = join(folder, "haproxy.pem");
  const millrace = hookedEdge(name, tls);
  const ports: Record<"haproxy" | "nginx" | "edge", number> = { haproxy: 0, nginx: 0, edge: 0 };
  const proxies: ProxyProcess[] = [];
  let challengePort: number;
  let pebble: Pebble;
  let PATH = serverPath.PATH;

  before(async () => {
    challengePort = await freePort();
    pebble = await startPebble(folder, { http: challengePort, tls: challengePort }, ninetyDays);
    const group = (await run("id", ["-gn"])).stdout.trim();
    await certbot("certonly", "-d", name, "--agree-tos", "--register-unsafely-without-email");
    const printed: Record<string, string[]> = {
      haproxy: ["--cert", pem, "--socket", join(folder, "haproxy.sock")],
      nginx: [],
      edge: ["--cert", tls, "--group", group],
    };
    for (const [who, words] of Object.entries(printed)) {
      const file = join(hooks, who);
      await told("certbot-hook", who, "--hostname", name, ...words, "--out", file);
      // The first time there has been no renewal, and nginx does not run yet.
      if (who !== "nginx") await run(file, { env: { ...serverPath, RENEWED_LINEAGE: lineage } });
    }
    await millrace.up();
    ports.edge = millrace.ports[1] as number;
    for (const kind of ["haproxy", "nginx"] as const) {
      ports[kind] = await freePort();
      const file = join(folder, `${kind}.conf`);
      const cert = kind === "haproxy" ? pem : join(lineage, "fullchain.pem");
      await told(
        ...["proxy", kind, "--cert", cert, "--listen", "127.0.0.1", "--smtps-port", String(ports[kind])],
        ...["--edge", `127.0.0.1:${millrace.port}`, "--unprivileged", folder, "--check", "--out", file],
        ...(kind === "haproxy" ? ["--stats-port", "0"] : []),
      );
      if (kind === "nginx") PATH = pathOfOwnNginx(folder, file);
      const words = kind === "haproxy" ? ["-db", "-f", file] : ["-e", "stderr", "-c", file];
      proxies.push(await startProxy([kind, ...words], [ports[kind]]));
    }
  });
  after(async () => {
    for (const proxy of proxies) await proxy.stop();
    await millrace.remove();
    await pebble?.stop();
    await rm(folder, { recursive: true, force: true });
  });

  async function told(...words: string[]): Promise<void> {
    const { status, stderr } = await millrace.run(words);
    assert.equal(status, 0, stderr);
  }

  /** The authority looks for the challenge on this machine, where certbot answers it. */
  function certbot(command: string, ...words: string[]) {
    return run(
      "certbot",
      [
        ...[command, "--non-interactive", "--server", pebble.directory, ...words],
        ...["--standalone", "--http-01-address", "127.0.0.1"],
        ...["--http-01-port", String(challengePort), "--config-dir", letsEncrypt],
        ...["--work-dir", join(folder, "work"), "--logs-dir", join(folder, "logs")],
      ],
      { env: { ...process.env, PATH, REQUESTS_CA_BUNDLE: pebble.serverRoot } },
    );
  }

  const renew = (...words: string[]) => certbot("renew", "--no-random-sleep-on-renew", ...words);
  /** What each of them shows to a new session. */
  const shown = () =>
    Promise.all(
      Object.values(ports).map(async (port) => {
        const { socket, serial } = await shownCertificate(port, name);
        socket.destroy();
        return serial;
      }),
    );
  const serialOfFile = async () => {
    const words = ["x509", "-in", join(lineage, "fullchain.pem"), "-noout", "-serial"];
    return (await run("openssl", words)).stdout.trim().replace("serial=", "");
  };

  test("all three show the one certbot has obtained", async () => {
    const serial = await serialOfFile();
    assert.deepEqual(await shown(), [serial, serial, serial]);
  });

  test("after a renewal all three show the new one, and three sessions at each go on", async () => {
    const before = await serialOfFile();
    const held: ShownCertificate[] = [];
    for (const port of Object.values(ports))
      for (let i = 0; i < 3; i++) held.push(await shownCertificate(port, name));
    await renew("--force-renewal");
    const serial = await serialOfFile();
    assert.notEqual(serial, before);
    await until(async () => (await shown()).join() === [serial, serial, serial].join());
    for (const each of held) {
      assert.equal(each.serial, before);
      assert.match(await noop(each.socket), /^250 /);
      each.socket.destroy();
    }
  });

  test("a rehearsal, and a renewal that fails, leave everything as it is", async () => {
    const before = [readFileSync(pem, "utf8"), ...(await shown())];
    await renew("--dry-run");
    await pebble.stop();
    await assert.rejects(renew("--force-renewal"), /Failed to renew|renew failure/);
    assert.deepEqual([readFileSync(pem, "utf8"), ...(await shown())], before);
  });
});
