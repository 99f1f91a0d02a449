import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, writeFileSync } from "node:fs";
import { rm } from "node:fs/promises";
import { connect as connectTcp, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { promisify } from "node:util";
import type { JournalEntry, Manifest } from "@millrace/mail";
import { certificate } from "../support/certificate.ts";
import { freePort } from "../support/free-port.ts";
import { Installation } from "../support/millrace.ts";
import { type ProxyProcess, serverPath, startProxy } from "../support/proxy-process.ts";
import { startSessions } from "../support/session-load.ts";
import { until } from "../support/until.ts";

const run = promisify(execFile);

/** TLS ends at HAProxy on one port, and at the edge (STARTTLS) on the other. */
function haproxyConfig(
  ports: Record<"tls" | "clear", number>,
  edges: Edge[],
  pem: string,
  clients: string,
): string {
  const servers = (listener: keyof Edge, how: string) =>
    edges.map((edge, i) => `    server edge${i + 1} 127.0.0.1:${edge[listener]} ${how}`).join("\n");
  return `
defaults
    mode tcp
    timeout connect 5s
    timeout client  600s
    timeout server  600s
    timeout check   5s
    balance leastconn
    option redispatch 1

frontend smtps
    bind 127.0.0.1:${ports.tls} ssl crt ${pem} ca-file ${clients} verify optional
    default_backend tls_ended
backend tls_ended
    option tcp-check
    tcp-check connect default
    tcp-check expect rstring ^220
    tcp-check send QUIT\\r\\n
    tcp-check expect rstring ^221
    default-server inter 200ms send-proxy-v2 proxy-v2-options ssl,cert-cn,ssl-cipher check
${servers("behindTls", "")}

frontend submission
    bind 127.0.0.1:${ports.clear}
    default_backend tls_passed_on
backend tls_passed_on
    option httpchk GET /readyz
    default-server inter 200ms send-proxy-v2 check
${edges.map((edge, i) => `    server edge${i + 1} 127.0.0.1:${edge.starttls} port ${edge.health}`).join("\n")}
`;
}

interface Edge {
  behindTls: number;
  starttls: number;
  health: number;
}

describe("two edges behind HAProxy", () => {
  const folder = mkdtempSync(join(tmpdir(), "millrace-haproxy-"));
  const mx = certificate(folder, "mx.example.test");
  const client = certificate(folder, "app-1.example.test");
  const proxyProtocol = { from: "127.0.0.1" };
  const millrace = new Installation({
    config: {
      hostname: "mx.example.test",
      listeners: [
        { name: "behind-tls", port: 0, tls: "proxy", proxyProtocol },
        { name: "starttls", port: 0, tls: "starttls", cert: mx.cert, key: mx.key, proxyProtocol },
      ],
    },
    env: { HEALTH_PORT: "0", LOG_LEVEL: "info", SMTP_DRAIN_SECONDS: "3" },
  });
  const ports = { tls: 0, clear: 0 };
  let edges: Edge[] = [];
  let haproxy: ProxyProcess | undefined;

  before(async () => {
    await millrace.up("--edges", "2");
    const health = [...millrace.output.matchAll(/http:\/\/127\.0\.0\.1:(\d+)/g)].map(([, port]) =>
      Number(port),
    );
    const [a, b, c, d] = millrace.ports as [number, number, number, number];
    edges = [
      { behindTls: a, starttls: b, health: health[0] as number },
      { behindTls: c, starttls: d, health: health[1] as number },
    ];
    Object.assign(ports, { tls: await freePort(), clear: await freePort() });
    const file = join(folder, "haproxy.cfg");
    writeFileSync(file, haproxyConfig(ports, edges, mx.both, client.cert));
    await run("haproxy", ["-c", "-f", file], { env: serverPath });
    haproxy = await startProxy(["haproxy", "-db", "-f", file], Object.values(ports));
  });
  after(async () => {
    await haproxy?.stop();
    await millrace.remove();
    await rm(folder, { recursive: true, force: true });
  });

  /** Sends with swaks from one of this machine's addresses, and finds what was accepted. */
  async function sent(from: string, ...words: string[]) {
    const address = ["--to", "a@example.com", "--from", "b@example.net", "--local-interface", from];
    const { stdout } = await run("swaks", [...address, ...words]);
    const id = /queued as (\S+)/.exec(stdout)?.[1] as string;
    assert.ok(id, stdout);
    let manifest: Manifest | undefined;
    await until(async () => {
      const { stdout: shown, status } = await millrace.run(["messages", "show", id, "--json"]);
      if (status === 0) ({ manifest } = JSON.parse(shown.toString()));
      return manifest !== undefined;
    });
    const { steps } = await millrace.json<{ steps: JournalEntry[] }>("trace", id);
    const field = (await millrace.run(["messages", "raw", id])).stdout.toString().split("\r\nDate:")[0];
    return {
      envelope: (manifest as unknown as Manifest).envelope,
      received: steps[0],
      field: String(field),
      id,
    };
  }

  test("TLS ended at the proxy: address, version, cipher and certificate of the client, not of the proxy", async () => {
    const tls = ["--server", `127.0.0.1:${ports.tls}`, "--tls-on-connect"];
    const { envelope, received, field, id } = await sent("127.0.0.77", ...tls);
    assert.equal(envelope.client.ip, "127.0.0.77");
    assert.equal(received?.data.client, "127.0.0.77");
    assert.equal(envelope.protocol, "ESMTPS");
    assert.match(envelope.tls?.version ?? "", /^TLSv1\.[23]$/);
    assert.match(envelope.tls?.cipher ?? "", /AES|CHACHA/);
    assert.equal(envelope.tls?.clientName, undefined);
    assert.match(field, /\(\[127\.0\.0\.77\]\)[\s\S]*\swith ESMTPS\s+id /);
    assert.match((await millrace.run(["trace", id])).stdout.toString(), /from 127\.0\.0\.77/);

    const known = await sent("127.0.0.78", ...tls, "--tls-cert", client.cert, "--tls-key", client.key);
    assert.equal(known.envelope.client.ip, "127.0.0.78");
    assert.equal(known.envelope.tls?.clientName, "app-1.example.test");
  });

  test("STARTTLS passed on to the edge: the address is the client's all the same", async () => {
    const { envelope, received } = await sent("127.0.0.79", "--server", `127.0.0.1:${ports.clear}`, "--tls");
    assert.equal(envelope.client.ip, "127.0.0.79");
    assert.equal(received?.data.client, "127.0.0.79");
    assert.equal(envelope.protocol, "ESMTPS");
  });

  test("sessions are spread evenly, and each edge counts its own", async () => {
    const held: Socket[] = [];
    for (let i = 0; i < 6; i++) {
      const socket = connectTcp({ port: ports.clear, host: "127.0.0.1", localAddress: `127.0.0.${80 + i}` });
      await once(socket, "data");
      held.push(socket);
    }
    await until(async () => {
      const counts = await Promise.all(edges.map(({ health }) => sessionsOf(health)));
      return counts.join() === "3,3";
    });
    for (const socket of held) socket.destroy();
  });

  test("all those health checks leave no line, and count as nothing but health checks", async () => {
    await until(async () => {
      const text = await metricsOf((edges[0] as Edge).health);
      return Number(/probes_total\{listener="behind-tls"\} (\d+)/.exec(text)?.[1]) >= 5;
    });
    const lines = millrace.output
      .split("\n")
      .filter((line) => line.includes('"name":"edge"'))
      .map((line) => String((JSON.parse(line) as { msg: unknown }).msg));
    assert.ok(lines.includes("ready"));
    const usual = /^(ready|accepted|certificate loaded)$/;
    assert.deepEqual(
      lines.filter((line) => !usual.test(line)),
      [],
    );
  });

  test("one that is told to stop under load: no client sees an error but 421, and nothing is lost", async () => {
    const stopping = millrace.pidOf("edge");
    const isThere = () => {
      try {
        return process.kill(stopping, 0);
      } catch {
        return false;
      }
    };
    const load = startSessions([{ port: ports.clear, tls: "off" }], 4);
    await until(() => load.acknowledged.length >= 10);
    process.kill(stopping, "SIGTERM");
    await until(() => !isThere());
    const withOne = load.acknowledged.length;
    await until(() => load.acknowledged.length >= withOne + 10);
    await load.stop();

    assert.deepEqual(load.errors, []);
    await until(async () => {
      const kept = await millrace.json<{ id: string }[]>("messages", "list", "--all");
      return load.acknowledged.every((id) => kept.some((message) => message.id === id));
    });
  });
});

async function metricsOf(health: number): Promise<string> {
  return (await fetch(`http://127.0.0.1:${health}/metrics`)).text();
}

async function sessionsOf(health: number): Promise<number> {
  return Number(/connections\{listener="starttls"\} (\d+)/.exec(await metricsOf(health))?.[1]);
}
