import assert from "node:assert/strict";
import { chmodSync, mkdtempSync } from "node:fs";
import { rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { Authority } from "../support/authority.ts";
import { diagnose } from "../support/doctor.ts";
import { closedPort, freePort } from "../support/free-port.ts";
import { Installation } from "../support/millrace.ts";
import { startProxy } from "../support/proxy-process.ts";
import { startHaproxy, startNginx } from "../support/small-proxies.ts";

const name = "mx.example.test";

describe("millrace doctor through proxies that are set up rightly or wrongly", () => {
  const folder = mkdtempSync(join(tmpdir(), "millrace-doctor-"));
  // nginx's workers run as somebody else.
  chmodSync(folder, 0o755);
  const authority = new Authority(folder);
  const pair = authority.issue(name, 60);
  const edge = { plain: 0, behind: 0, starttls: 0 };
  let millrace: Installation;

  before(async () => {
    for (const listener of ["plain", "behind", "starttls"] as const) edge[listener] = await freePort();
    const proxyProtocol = { from: "127.0.0.1" };
    millrace = new Installation({
      config: {
        hostname: name,
        routes: [{ recipients: ["*@example.com"], to: { maildir: "./mail" } }],
        listeners: [
          { name: "plain", port: edge.plain },
          { name: "behind", port: edge.behind, tls: "proxy", proxyProtocol },
          {
            name: "starttls",
            port: edge.starttls,
            tls: "starttls",
            cert: pair.chain,
            key: pair.key,
            proxyProtocol,
          },
        ],
      },
      env: { SMTP_ENABLE_AUTH: "true", SMTP_HANDSHAKE_TIMEOUT_SECONDS: "30" },
    });
    await millrace.up();
  });
  after(async () => {
    await millrace?.remove();
    await rm(folder, { recursive: true, force: true });
  });

  const trust = ["--servername", name, "--ca", authority.root];
  const through = (port: number, ...words: string[]) =>
    diagnose(millrace, [`127.0.0.1:${port}`, ...trust, ...words]);

  const haproxy = (server: string, options?: { pem?: string; more?: string }) =>
    startHaproxy(folder, server, options);
  const nginx = (server: string, more?: string) => startNginx(folder, server, more);

  /** The proxy that `millrace proxy` prints, with both of its ports. */
  async function printed(kind: "haproxy" | "nginx" | "nginx-mail", ...more: string[]) {
    const [smtps, starttls] = [await freePort(), await freePort()];
    const file = join(folder, `printed-${smtps}.conf`);
    const key = kind === "haproxy" ? ["--cert", pair.both] : ["--cert", pair.chain, "--key", pair.key];
    const itself = [kind === "haproxy" ? "--stats-port" : "--internal-port", String(await freePort())];
    const pass = kind === "nginx-mail" ? [] : ["--starttls-edge", `127.0.0.1:${edge.starttls}`];
    const { status, stderr } = await millrace.run([
      ...["proxy", kind, "--hostname", name, "--listen", "127.0.0.1", ...key, ...itself, ...pass],
      ...["--edge", `127.0.0.1:${edge.behind}`, "--unprivileged", folder, "--out", file],
      ...["--smtps-port", String(smtps), "--starttls-port", String(starttls), "--max-per-ip", "0", ...more],
    ]);
    assert.equal(status, 0, stderr);
    const words: [string, ...string[]] =
      kind === "haproxy" ? ["haproxy", "-db", "-f", file] : ["nginx", "-e", "stderr", "-c", file];
    return { ...(await startProxy(words, [smtps, starttls])), smtps, starttls };
  }

  for (const kind of ["haproxy", "nginx", "nginx-mail"] as const) {
    test(`${kind}, as it is printed: nothing is wrong on either port`, async () => {
      const proxy = await printed(kind, ...(kind === "nginx-mail" ? ["--auth"] : []));
      try {
        for (const [port, tls] of [
          [proxy.smtps, "implicit"],
          [proxy.starttls, "starttls"],
        ] as const) {
          const { failed, of } = await through(port, "--tls", tls);
          assert.deepEqual(failed, []);
          assert.match(of("auth").seen, /PLAIN LOGIN, in secure sessions alone/);
          assert.match(
            of("size").seen,
            new RegExp(`^SIZE 52428800, as by the edge at 127\\.0\\.0\\.1:${edge.plain}$`),
          );
          assert.match(of("open relay").seen, /^7 ways to foreign recipients refused/);
          // nginx's mail module answers EHLO itself.
          if (kind === "nginx-mail") assert.equal(of("client address").status, "skipped");
          else
            assert.match(of("client address").seen, /^127\.0\.0\.199, which is ours, is what the edge sees$/);
          assert.ok(of("latency").figures?.bannerMs !== undefined);
        }
      } finally {
        await proxy.stop();
      }
    });
  }

  test("trouble 1, connection refused: at the port itself", async () => {
    const port = await freePort();
    const { failed, of } = await through(port);
    assert.deepEqual(failed, ["port"]);
    assert.match(
      of("port").seen,
      new RegExp(`refuses connections: nothing listens on 127\\.0\\.0\\.1 port ${port}`),
    );
    assert.match(of("port").cure ?? "", /millrace up.*ss -ltnp/);
  });

  for (const [kind, start] of [
    ["haproxy", haproxy],
    ["nginx", nginx],
  ] as const) {
    test(`trouble 1, connection refused behind ${kind}: closed without a word`, async () => {
      const gone = `127.0.0.1:${closedPort}`;
      const proxy = await start(gone);
      try {
        const { failed, of } = await through(proxy.port);
        assert.deepEqual(failed, ["greeting"]);
        assert.match(of("greeting").seen, /connection was (closed|reset)/);
        assert.match(of("greeting").cure ?? "", /no edge is up for it/);
      } finally {
        await proxy.stop();
      }
    });
  }

  describe("trouble 3, time-outs: the PROXY header", () => {
    test("is missing: haproxy ends TLS and sends none to a listener that waits for one", async () => {
      const proxy = await haproxy(`127.0.0.1:${edge.behind}`, { pem: pair.both });
      try {
        const { failed, of } = await through(proxy.port, "--tls", "implicit");
        assert.deepEqual(failed, ["greeting"]);
        assert.match(
          of("greeting").seen,
          /nothing came within 5 s\. With a PROXY header inside TLS it answers at once/,
        );
        assert.match(of("greeting").cure ?? "", /send-proxy-v2.*proxy_protocol on/);
      } finally {
        await proxy.stop();
      }
    });

    test("is missing: nginx passes STARTTLS on and sends none; and so does a client without a proxy", async () => {
      const proxy = await nginx(`127.0.0.1:${edge.starttls}`);
      try {
        for (const port of [proxy.port, edge.starttls]) {
          const { failed, of } = await through(port, "--tls", "starttls");
          assert.deepEqual(failed, ["greeting"]);
          assert.match(of("greeting").seen, /With a PROXY header before all else it answers at once/);
        }
      } finally {
        await proxy.stop();
      }
    });

    test("is not wanted: haproxy sends one in version 2, nginx in version 1, and the listener wants none", async () => {
      const proxies = [
        await haproxy(`127.0.0.1:${edge.plain} send-proxy-v2`),
        await nginx(`127.0.0.1:${edge.plain}`, "proxy_protocol on;"),
      ];
      try {
        for (const { port } of proxies) {
          const { failed, of } = await through(port);
          assert.deepEqual(failed, ["greeting"]);
          assert.match(of("greeting").seen, /^421 .*talk too soon; we had said nothing/);
          assert.match(of("greeting").cure ?? "", /wants none: name the proxy in .*proxyProtocol\.from/);
        }
      } finally {
        for (const { stop } of proxies) await stop();
      }
    });

    test("is not wanted: a server that takes it for a command", async () => {
      const port = await freePort();
      // As root it wants to be somebody else.
      const asNobody = process.getuid?.() === 0 ? ["-u", "nobody"] : [];
      const sink = await startProxy(["smtp-sink", ...asNobody, `127.0.0.1:${port}`, "10"], [port]);
      const proxy = await haproxy(`127.0.0.1:${port} send-proxy`);
      try {
        const { failed, of } = await through(proxy.port);
        assert.deepEqual(failed, ["greeting"]);
        assert.match(of("greeting").seen, /^"50\d .* came before the reply to EHLO, "250 .*did not send$/);
      } finally {
        await proxy.stop();
        await sink.stop();
      }
    });

    test("is neither missing nor too much: what is behind haproxy or nginx hangs", async () => {
      const proxies = [await haproxy(`127.0.0.1:${edge.plain}`), await nginx(`127.0.0.1:${edge.plain}`)];
      const pid = millrace.pidOf("edge");
      process.kill(pid, "SIGSTOP");
      try {
        for (const { port } of proxies) {
          const { failed, of } = await through(port, "--timeout", "3");
          assert.deepEqual(failed, ["greeting"]);
          assert.match(
            of("greeting").seen,
            /nothing came within 3 s\. A PROXY header, or TLS .*, makes no difference/,
          );
          assert.match(of("greeting").cure ?? "", /hangs/);
        }
      } finally {
        process.kill(pid, "SIGCONT");
        for (const { stop } of proxies) await stop();
      }
    });
  });

  test("trouble 4, performance: a proxy that lets clients wait is found out by the step that is slow", async () => {
    const wait = "tcp-request inspect-delay 2s\n    tcp-request content accept if WAIT_END";
    const proxy = await haproxy(`127.0.0.1:${edge.plain}`, { more: wait });
    try {
      const { of } = await through(proxy.port, "--timeout", "30");
      const { status, seen, cure, figures } = of("latency");
      assert.equal(status, "warning");
      assert.ok((figures?.bannerMs ?? 0) >= 1_900, JSON.stringify(figures));
      assert.match(seen, /connect \d+ ms, banner \d+ ms, ehlo \d+ ms: banner is slow/);
      assert.match(cure ?? "", /inspect-delay/);
    } finally {
      await proxy.stop();
    }
  });

  test("a client's address that a proxy keeps to itself", async () => {
    const proxy = await haproxy(`127.0.0.1:${edge.plain}`);
    try {
      const { failed, of } = await through(proxy.port);
      assert.deepEqual(failed, ["client address"]);
      assert.equal(of("client address").seen, "the edge takes us for 127.0.0.1, and we are 127.0.0.199");
    } finally {
      await proxy.stop();
    }
  });

  test("AUTH in the clear: a proxy's port without TLS, before a listener that believes in it", async () => {
    const clear = await haproxy(`127.0.0.1:${edge.behind} send-proxy`);
    try {
      const { failed, of } = await through(clear.port);
      assert.deepEqual(failed, ["auth"]);
      assert.match(of("auth").seen, /AUTH PLAIN LOGIN is offered in the clear/);
    } finally {
      await clear.stop();
    }
  });

  test("SIZE: nginx's mail module has a list of its own", async () => {
    const proxy = await printed("nginx-mail", "--max-message-bytes", "1000000");
    try {
      const { failed, of } = await through(proxy.smtps, "--tls", "implicit");
      assert.deepEqual(failed, []);
      assert.equal(of("size").status, "warning");
      assert.match(of("size").seen, /^SIZE 1000000, but 52428800 by the edge/);
      assert.match(of("size").cure ?? "", /--max-message-bytes/);
    } finally {
      await proxy.stop();
    }
  });
});
