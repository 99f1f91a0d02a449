import type { Config, Listener } from "@millrace/service";
import type { EdgeSize } from "./checks/size.ts";
import { converse } from "./smtp/dialogue.ts";
import { type Endpoint, shown } from "./smtp/endpoint.ts";
import { localHeader } from "./smtp/proxy-header.ts";

/** Where on this machine to reach what listens on all its addresses. */
const loopback: Record<string, string> = { "0.0.0.0": "127.0.0.1", "::": "::1", localhost: "127.0.0.1" };

/** One of our own listeners, or of the proxy's before them, as it is reached from this machine. */
export function ownEndpoint(
  { host, port, proxies }: Pick<Listener, "host" | "port" | "proxies">,
  serverName: string,
  { timeout, authorities, selfMade }: Pick<Endpoint, "timeout" | "authorities" | "selfMade">,
): Endpoint {
  const address = loopback[host] ?? host;
  return {
    ...{ host: address, address, port, serverName, authorities, selfMade, timeout },
    source: undefined,
    proxyHeader: proxies ? localHeader : undefined,
  };
}

/** What the edge of this configuration announces as SIZE, asked without a proxy between; a text when it cannot be. */
export async function askEdgeSize(config: Config, timeout: number): Promise<EdgeSize | string> {
  let problem = "no listener has a port of its own";
  for (const listener of config.listeners) {
    if (listener.port === 0) continue;
    const endpoint = ownEndpoint(listener, config.hostname, {
      ...{ timeout, authorities: [], selfMade: undefined },
    });
    try {
      const { session, clear, secure } = await converse(endpoint, listener.tls === "implicit");
      session.quit();
      const octets = Number((secure ?? clear)?.extensions.get("SIZE"));
      if (octets > 0) return { octets, from: `the edge at ${shown(endpoint)}` };
      problem = `${shown(endpoint)} announces no SIZE`;
    } catch (error) {
      problem = `${shown(endpoint)}: ${(error as Error).message}`;
    }
  }
  return `no edge of this folder's configuration to compare it with (${problem})`;
}
