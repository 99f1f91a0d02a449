import type { Config } from "@millrace/service";
import { CommandError } from "../terminal.ts";

/** Where to find on this machine what listens on all its addresses. */
const loopback: Record<string, string> = { "0.0.0.0": "127.0.0.1", "::": "::1" };

/**
 * Where a client on this machine can send to without TLS and without a proxy before it.
 * @throws CommandError when no listener is of that kind
 */
export function listenerInTheClear({ listeners }: Pick<Config, "listeners">): { host: string; port: number } {
  const plain = listeners.find(({ tls, proxies }) => !proxies && tls !== "implicit");
  if (!plain)
    throw new CommandError(
      "every listener is for proxies or TLS alone: name one to send to with --server",
      2,
    );
  const { host, port } = plain;
  return { host: loopback[host] ?? host, port };
}
