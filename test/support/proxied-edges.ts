import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { chmodSync, mkdtempSync, readFileSync } from "node:fs";
import { rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import type { JournalEntry } from "@millrace/mail";
import { caddy, caddyFolder } from "./caddy.ts";
import { certificate } from "./certificate.ts";
import { freePort, freePorts } from "./free-port.ts";
import { Installation } from "./millrace.ts";
import { type ProxyProcess, startProxy } from "./proxy-process.ts";
import { until } from "./until.ts";

/** Ports of one edge. */
export interface Edge {
  behindTls: number;
  starttls: number;
  native: number;
  health: number;
}

/** Ports of a proxy. */
export interface ProxyPorts {
  smtps: number;
  starttls: number;
}

/** A proxy that runs. */
export interface StartedProxy extends ProxyProcess {
  ports: ProxyPorts;
  file: string;
  /** Has its file printed anew, with other options. */
  print(...options: string[]): Promise<string>;
}

type Kind = Exclude<keyof Edge, "health">;

/**
 * Edges with a listener of each kind, and the proxies whose files `millrace proxy` prints before them. An edge that
 * is started again has the ports of the one before.
 */
export class ProxiedEdges {
  readonly folder = mkdtempSync(join(tmpdir(), "millrace-proxies-"));
  /** The proxies' certificate. */
  readonly mx = certificate(this.folder, "mx.example.test");
  /** The edges' own. */
  readonly own = certificate(this.folder, "native.example.test");
  readonly edges: Edge[] = [];
  private installation: Installation | undefined;

  /** @param env settings of the edges, beside what the proxies want of them */
  async up(count: number, env: Record<string, string> = {}): Promise<void> {
    // nginx's workers run as somebody else.
    chmodSync(this.folder, 0o755);
    const port = await freePorts(4 * count);
    const behindTls = { name: "behind-tls", port, tls: "proxy" };
    const tls = { cert: this.own.cert, key: this.own.key };
    const starttls = { name: "starttls", port: port + count, tls: "starttls", ...tls };
    const native = { name: "native", port: port + 2 * count, tls: "implicit", ...tls };
    const proxyProtocol = { from: "127.0.0.1" };
    this.installation = new Installation({
      config: {
        hostname: "mx.example.test",
        listeners: [behindTls, starttls, native].map((each) => ({ ...each, proxyProtocol })),
      },
      env: { HEALTH_PORT: String(port + 3 * count), LOG_LEVEL: "info", ...env },
    });
    await this.millrace.up("--edges", String(count));
    for (let i = 0; i < count; i++)
      this.edges.push({
        behindTls: behindTls.port + i,
        starttls: starttls.port + i,
        native: native.port + i,
        health: port + 3 * count + i,
      });
  }

  async remove(): Promise<void> {
    await this.installation?.remove();
    await rm(this.folder, { recursive: true, force: true });
  }

  get millrace(): Installation {
    assert.ok(this.installation, "up() comes first");
    return this.installation;
  }

  /** The listeners of one kind, as options. */
  upstreams(option: string, listener: Kind, withHealth = false): string[] {
    return this.edges.flatMap((edge) => [
      option,
      `127.0.0.1:${edge[listener]}${withHealth ? `/${edge.health}` : ""}`,
    ]);
  }

  /** Process of the edge that has these ports. */
  pidOf(edge: Edge): number {
    const number = `EDGE_NUMBER=${this.edges.indexOf(edge) + 1}`;
    const pid = this.millrace
      .pids("edge")
      .find((each) => readFileSync(`/proc/${each}/environ`, "utf8").split("\0").includes(number));
    assert.ok(pid, `no edge with ${number} is running`);
    return pid;
  }

  /** What an edge says of itself at this moment: the value of one of its metrics. */
  async metric({ health }: Edge, name: string, listener: string): Promise<number> {
    const text = await (await fetch(`http://127.0.0.1:${health}/metrics`)).text();
    return Number(
      new RegExp(`^millrace_edge_${name}\\{listener="${listener}"\\} (\\d+)$`, "m").exec(text)?.[1],
    );
  }

  /** Has a proxy's file printed and checked by that proxy. */
  async printed(name: string, ports: ProxyPorts, ...more: string[]): Promise<string> {
    return (await this.printer(name, ports))(...more);
  }

  /** What prints a proxy's file and has it checked, as often as it is asked to; the file's path. */
  private async printer(name: string, ports: ProxyPorts) {
    const file = join(this.folder, `${name}-${ports.smtps}.conf`);
    const itself =
      name === "haproxy"
        ? ["--stats-port", String(await freePort())]
        : ["--internal-port", String(await freePorts(4))];
    return async (...more: string[]): Promise<string> => {
      const { status, stderr } = await this.millrace.run(
        [
          ...["proxy", name, "--hostname", "mx.example.test", "--listen", "127.0.0.1"],
          ...itself,
          ...["--smtps-port", String(ports.smtps), "--starttls-port", String(ports.starttls)],
          ...["--unprivileged", this.folder, "--check", "--out", file, ...more],
        ],
        { PATH: `${caddyFolder}:${this.millrace.env.PATH}` },
      );
      assert.equal(status, 0, stderr);
      return file;
    };
  }

  /** Has a proxy's file printed, and starts that proxy. */
  async started(name: string, ...more: string[]): Promise<StartedProxy> {
    const ports = { smtps: await freePort(), starttls: await freePort() };
    const { cert, key, both } = this.mx;
    const pair = name === "haproxy" ? ["--cert", both] : ["--cert", cert, "--key", key];
    const printer = await this.printer(name, ports);
    const print = (...options: string[]) => printer(...pair, ...options);
    const file = await print(...more);
    const open =
      more.includes("--starttls-edge") || name === "nginx-mail" ? Object.values(ports) : [ports.smtps];
    return { ...(await startProxy(wordsFor(name, file), open)), ports, file, print };
  }

  /** Delivers with swaks from one of this machine's addresses; what the journal says of the arrival. */
  async delivered(from: string, port: number, ...words: string[]) {
    const address = ["--to", "a@example.com", "--from", "b@example.net", "--local-interface", from];
    const all = [...address, "--server", `127.0.0.1:${port}`, ...words];
    const { stdout } = await promisify(execFile)("swaks", all);
    const id = /queued as (\S+)/.exec(stdout)?.[1] as string;
    assert.ok(id, stdout);
    let received: JournalEntry | undefined;
    await until(async () => {
      const { stdout: shown, status } = await this.millrace.run(["trace", id, "--json"]);
      if (status === 0) [received] = (JSON.parse(shown.toString()) as { steps: JournalEntry[] }).steps;
      return received !== undefined;
    });
    const raw = (await this.millrace.run(["messages", "raw", id])).stdout.toString();
    return { id, client: received?.data.client, raw, said: stdout };
  }
}

/** What starts a proxy with its file, so that it stays in the foreground. */
export function wordsFor(name: string, file: string): [string, ...string[]] {
  if (name === "haproxy") return ["haproxy", "-W", "-f", file];
  if (name === "caddy") return [caddy, "run", "--adapter", "caddyfile", "--config", file];
  return ["nginx", "-e", "stderr", "-c", file];
}
