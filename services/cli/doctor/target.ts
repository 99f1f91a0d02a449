import { isIP } from "node:net";
import { CommandError } from "../terminal.ts";

/** What is to be examined: one port of a host, or the usual ones. */
export interface Target {
  host: string;
  port: number | undefined;
}

/** Ports of mail when none is named: 25 (MX), 465 and 587 (submission), and Millrace's own in the clear. */
export const usualPorts = [25, 465, 587, 2525];

/** Reads `host`, `host:port`, `[IPv6]:port` or an IPv6 address. @throws CommandError */
export function parseTarget(text: string): Target {
  if (isIP(text)) return { host: text, port: undefined };
  const match = /^(\[[^\]]+\]|[^:[\]\s]+)(?::(\d{1,5}))?$/.exec(text);
  const host = match?.[1]?.replace(/^\[|\]$/g, "") ?? "";
  const port = match?.[2] === undefined ? undefined : Number(match[2]);
  const bracketed = match?.[1]?.startsWith("[") ?? false;
  if (!host || (bracketed && isIP(host) !== 6) || (port !== undefined && (port < 1 || port > 65_535)))
    throw new CommandError(
      `${JSON.stringify(text)} is no host: give host, host:port or [IPv6 address]:port, such as mx.example.com:465`,
      2,
    );
  return { host, port };
}
