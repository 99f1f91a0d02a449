import type { TargetConfig } from "@millrace/mail";
import type { Transport } from "../transport.ts";
import { mailTransport } from "./smtp-delivery.ts";

export type LmtpConfig = Extract<TargetConfig, { lmtp: string }>;

/**
 * Delivers by LMTP (RFC 2033) to `host:port` or the path of a unix socket, over connections that are kept. The server
 * answers for each recipient by itself after the message, and each answer is that recipient's outcome. No TLS.
 */
export function lmtpTransport(config: LmtpConfig, { hostname }: { hostname: string }): Transport {
  return mailTransport({
    protocol: "lmtp",
    address: lmtpAddress(config.lmtp),
    hostname,
    tls: "off",
    verify: false,
  });
}

function lmtpAddress(address: string): { host: string; port: number } | { path: string } {
  const path = /^(?:unix:(?:\/\/)?)?(\/.*)$/.exec(address)?.[1];
  if (path) return { path };
  const match = /^(?:\[([^\]]+)\]|([^:]+))(?::(\d+))?$/.exec(address);
  if (!match)
    throw new Error(`lmtp: ${address} is no address: write host:port, [address]:port or /path/of/socket`);
  return { host: (match[1] ?? match[2]) as string, port: Number(match[3] ?? 24) };
}
