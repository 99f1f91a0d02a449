import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { connect as connectTls } from "node:tls";
import { promisify } from "node:util";
import { noCaddy } from "../support/caddy.ts";
import { certificate } from "../support/certificate.ts";
import { closedPort } from "../support/free-port.ts";
import { ProxiedEdges } from "../support/proxied-edges.ts";
import { noop, type ShownCertificate, shownCertificate } from "../support/shown-certificate.ts";
import { until } from "../support/until.ts";

const run = promisify(execFile);

describe("two edges behind the proxies whose files `millrace proxy` prints", () => {
  const proxied = new ProxiedEdges();
  const { folder } = proxied;
  const upstreams: ProxiedEdges["upstreams"] = (...words) => proxied.upstreams(...words);
  const started: ProxiedEdges["started"] = (...words) => proxied.started(...words);
  const delivered: ProxiedEdges["delivered"] = (...words) => proxied.delivered(...words);

  before(() => proxied.up(2));
  after(() => proxied.remove());

  const starttlsEdges = () => upstreams("--starttls-edge", "starttls");
  const rows: [string, () => string[]][] = [
    ["haproxy", () => [...upstreams("--edge", "behindTls"), ...starttlsEdges()]],
    [
      "haproxy",
      () => [...upstreams("--edge", "behindTls", true), ...upstreams("--starttls-edge", "starttls", true)],
    ],
    ["nginx", () => [...upstreams("--edge", "behindTls"), ...starttlsEdges()]],
    ["nginx-mail", () => upstreams("--edge", "behindTls")],
    ["caddy", () => [...upstreams("--edge", "behindTls"), ...starttlsEdges()]],
  ];
  for (const [i, [name, options]] of rows.entries()) {
    test(
      `${name} (${i}): TLS from the first octet on, and STARTTLS, with the client's address in the journal`,
      skipped(name),
      async () => {
        const { ports, stop } = await started(name, ...options());
        try {
          const smtps = await delivered(`127.0.0.${10 + i}`, ports.smtps, "--tls-on-connect");
          assert.equal(smtps.client, `127.0.0.${10 + i}`);
          assert.match(smtps.raw, /with ESMTPS/);
          const starttls = await delivered(`127.0.0.${20 + i}`, ports.starttls, "--tls", "--pipeline");
          assert.equal(starttls.client, `127.0.0.${20 + i}`);
          assert.match(starttls.raw, /with ESMTPS/);
        } finally {
          await stop();
        }
      },
    );
  }

  test("haproxy: the edge learns of TLS version, cipher and the name in a client's certificate", async () => {
    const client = certificate(folder, "app-1.example.test");
    const { ports, stop } = await started(
      "haproxy",
      ...upstreams("--edge", "behindTls"),
      ...["--client-ca", client.cert],
    );
    try {
      const words = ["--tls-on-connect", "--tls-cert", client.cert, "--tls-key", client.key];
      const { id } = await delivered("127.0.0.30", ports.smtps, ...words);
      let tls: Record<string, string> | undefined;
      await until(async () => {
        const { stdout, status } = await proxied.millrace.run(["messages", "show", id, "--json"]);
        if (status === 0) tls = JSON.parse(stdout.toString()).manifest.envelope.tls;
        return tls !== undefined;
      });
      assert.match(tls?.version ?? "", /^TLSv1\.[23]$/);
      assert.match(tls?.cipher ?? "", /AES|CHACHA/);
      assert.equal(tls?.clientName, "app-1.example.test");
    } finally {
      await stop();
    }
  });

  test("health checks of the printed file leave no line and refuse nothing", async () => {
    const lines = proxied.millrace.output.split("\n").filter((line) => line.includes('"name":"edge"'));
    const messages = lines.map((line) => String((JSON.parse(line) as { msg: unknown }).msg));
    assert.deepEqual(
      messages.filter((message) => !/^(ready|accepted|certificate loaded)$/.test(message)),
      [],
    );
  });

  for (const name of ["haproxy", "nginx", "nginx-mail"]) {
    test(`${name}: one address holds as many sessions as --max-per-ip says, and another one is not in its way`, async () => {
      const { ports, stop } = await started(name, ...upstreams("--edge", "behindTls"), "--max-per-ip", "2");
      const held: Socket[] = [];
      try {
        for (let i = 0; i < 2; i++) held.push(await opened(ports.smtps, "127.0.0.50"));
        assert.equal(await heard(ports.smtps, "127.0.0.50"), "");
        const words = ["--quit-after", "EHLO", "--tls-on-connect", "--server", `127.0.0.1:${ports.smtps}`];
        await assert.rejects(run("swaks", [...words, "--local-interface", "127.0.0.50"]));
        const { client } = await delivered("127.0.0.51", ports.smtps, "--tls-on-connect");
        assert.equal(client, "127.0.0.51");
      } finally {
        for (const socket of held) socket.destroy();
        await stop();
      }
    });

    test(`${name}: from no native sessions to all of them and back, by reloads that no open session feels`, async () => {
      const migration = (weight: number) => [
        ...upstreams("--edge", "behindTls"),
        ...upstreams("--native-edge", "native"),
        ...["--migrate-weight", String(weight), "--max-per-ip", "0"],
        ...(name === "haproxy" ? ["--max-rate-per-ip", "0"] : []),
      ];
      const { ports, pid, print, stop } = await started(name, ...migration(0));
      const held: ShownCertificate[] = [];
      /** Waits until each of five new sessions is ended by the one of that name, and keeps one of them. */
      const allAt = (commonName: string) =>
        until(async () => {
          const five = await Promise.all(
            [1, 2, 3, 4, 5].map(() => shownCertificate(ports.smtps, "mx.example.test")),
          );
          const all = five.every(({ socket }) => socket.getPeerCertificate().subject.CN === commonName);
          if (all) held.push(five.pop() as ShownCertificate);
          for (const { socket } of five) socket.destroy();
          return all;
        });
      try {
        await allAt("mx.example.test");
        await print(...migration(100));
        process.kill(pid, name === "haproxy" ? "SIGUSR2" : "SIGHUP");
        await allAt("native.example.test");
        await print(...migration(0));
        process.kill(pid, name === "haproxy" ? "SIGUSR2" : "SIGHUP");
        await allAt("mx.example.test");
        for (const each of held) assert.match(await noop(each.socket), /^250 /);
      } finally {
        for (const { socket } of held) socket.destroy();
        await stop();
      }
    });
  }

  for (const name of ["haproxy", "nginx", "nginx-mail", "caddy"]) {
    test(
      `${name}: while it migrates, sessions reach both kinds of edges, with the client's address`,
      skipped(name),
      async () => {
        const { ports, stop } = await started(
          name,
          ...upstreams("--edge", "behindTls"),
          ...upstreams("--native-edge", "native"),
          ...["--migrate-weight", "50"],
        );
        try {
          const names = new Set<string>();
          // A fair coin that falls 40 times on one side is not fair.
          for (let i = 0; i < 40 && names.size < 2; i++) {
            const from = `127.0.0.${60 + i}`;
            const { client, said } = await delivered(from, ports.smtps, "--tls-on-connect");
            assert.equal(client, from);
            names.add(/peer DN="\/CN=([\w.]+)"/.exec(said)?.[1] ?? said);
          }
          assert.deepEqual([...names].sort(), ["mx.example.test", "native.example.test"]);
        } finally {
          await stop();
        }
      },
    );
  }

  test("haproxy: while no native edge is up, their share is ended at the proxy", async () => {
    const { ports, stop } = await started(
      "haproxy",
      ...upstreams("--edge", "behindTls"),
      ...["--native-edge", `127.0.0.1:${closedPort}`, "--migrate-weight", "100"],
    );
    try {
      // Until it has looked once, it takes each of them to be up.
      await until(() =>
        shownCertificate(ports.smtps, "mx.example.test").then(
          ({ socket }) => !!socket.destroy(),
          () => false,
        ),
      );
      const { client } = await delivered("127.0.0.52", ports.smtps, "--tls-on-connect");
      assert.equal(client, "127.0.0.52");
    } finally {
      await stop();
    }
  });

  test("haproxy: one address begins as many sessions in a minute as --max-rate-per-ip says", async () => {
    const { ports, stop } = await started(
      "haproxy",
      ...upstreams("--edge", "behindTls"),
      ...["--max-rate-per-ip", "3"],
    );
    try {
      for (let i = 0; i < 3; i++) await delivered("127.0.0.53", ports.smtps, "--tls-on-connect");
      assert.equal(await heard(ports.smtps, "127.0.0.53"), "");
      await delivered("127.0.0.54", ports.smtps, "--tls-on-connect");
    } finally {
      await stop();
    }
  });

  test("what a proxy finds fault with is not written, and the status says so", async () => {
    const out = join(folder, "refused.cfg");
    const { status, stderr } = await proxied.millrace.run([
      "proxy",
      "haproxy",
      "--cert",
      "/no/such.pem",
      "--check",
      "--out",
      out,
    ]);
    assert.equal(status, 1);
    assert.match(stderr, /\/no\/such\.pem[\s\S]*--check: haproxy finds fault/);
    await assert.rejects(run("cat", [out]));
  });

  test("without the proxy's program, --check says how to get it", async () => {
    const { status, stderr } = await proxied.millrace.run(["proxy", "caddy", "--check"], { PATH: folder });
    assert.equal(status, 69);
    assert.match(stderr, /caddy is not installed here: xcaddy build --with github\.com\/mholt\/caddy-l4@v/);
  });
});

function skipped(name: string): { skip: string | false } {
  return { skip: name === "caddy" && noCaddy };
}

/** A session that has been greeted: from now on it counts. */
async function opened(port: number, localAddress: string): Promise<Socket> {
  const transport = connect({ port, host: "127.0.0.1", localAddress });
  const socket = connectTls({ socket: transport, rejectUnauthorized: false });
  await once(socket, "data");
  return socket;
}

/** What a client reads that says nothing, until its connection is closed or reset. */
async function heard(port: number, localAddress: string): Promise<string> {
  const socket = connect({ port, host: "127.0.0.1", localAddress });
  let said = "";
  socket
    .on("error", () => undefined)
    .on("data", (data) => {
      said += data;
    });
  await new Promise((resolve) => socket.on("close", resolve));
  return said;
}
