import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { connect, type TLSSocket } from "node:tls";
import { promisify } from "node:util";
import type { JournalEntry } from "@millrace/mail";
import { freePorts } from "./free-port.ts";
import { Installation } from "./millrace.ts";

const run = promisify(execFile);

/** How many edges there are ports for. */
export const edges = 3;

/** Those of the proxy. */
export interface ProxyPorts {
  smtps: number;
  starttls: number;
}

/** An installation with ports of its own for everything that three edges and a proxy listen on. */
export async function proxiedInstallation(env: Record<string, string> = {}) {
  const first = await freePorts(4 * edges + 2);
  const ports = { smtps: first + 4 * edges, starttls: first + 4 * edges + 1 };
  const millrace = new Installation({
    config: { hostname: "mx.example.test" },
    env: {
      LOG_LEVEL: "info",
      SMTP_PORT: String(first),
      UP_PROXY_EDGE_PORT: String(first + edges),
      UP_PROXY_EDGE_STARTTLS_PORT: String(first + 2 * edges),
      HEALTH_PORT: String(first + 3 * edges),
      UP_PROXY_SMTPS_PORT: String(ports.smtps),
      UP_PROXY_STARTTLS_PORT: String(ports.starttls),
      ...env,
    },
  });
  return { millrace, ports };
}

/** Delivers with swaks from one of this machine's addresses; what `trace` says of the arrival. */
async function delivered(millrace: Installation, from: string, port: number, ...words: string[]) {
  const address = ["--to", "a@example.com", "--from", "b@example.net", "--local-interface", from];
  const { stdout } = await run("swaks", [...address, "--server", `127.0.0.1:${port}`, ...words]);
  const id = /queued as (\S+)/.exec(stdout)?.[1] as string;
  assert.ok(id, stdout);
  const { steps } = await millrace.json<{ steps: JournalEntry[] }>("trace", id);
  return { client: steps[0]?.data.client, told: (await millrace.run(["trace", id])).stdout.toString() };
}

/** Delivers through both ports, from an address of its own each, and wants `trace` to tell of it. */
export async function bothDoors(
  millrace: Installation,
  { smtps, starttls }: ProxyPorts,
  addresses: [string, string],
) {
  for (const [from, port, how] of [
    [addresses[0], smtps, "--tls-on-connect"],
    [addresses[1], starttls, "--tls"],
  ] as const) {
    const { client, told } = await delivered(millrace, from, port, how);
    assert.equal(client, from);
    assert.ok(told.includes(`from ${from}`), told);
  }
}

/** A session over TLS from the first octet on, greeted. */
export async function session(port: number, options: { ca?: Buffer } = {}): Promise<TLSSocket> {
  const socket = connect({
    ...{ port, host: "127.0.0.1", servername: "mx.example.test" },
    ...(options.ca ? { ca: options.ca } : { rejectUnauthorized: false }),
  });
  socket.on("error", () => {});
  await once(socket, "data");
  return socket;
}

/** Pid of the proxy that `up` started last. */
export function proxyPid(millrace: Installation): number {
  const told = /^proxy .*\(pid (\d+)\)$|(?:haproxy|nginx) is back \(pid (\d+)\)$/gm;
  const [, first, again] = [...millrace.output.matchAll(told)].at(-1) ?? [];
  return Number(first ?? again);
}

/** Whether a process is under Linux's batch policy (proc_pid_stat(5), field 41). */
export function isBatch(pid: number): boolean {
  const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
  return stat.slice(stat.lastIndexOf(")") + 2).split(" ")[38] === "3";
}

export function isRunning(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}
