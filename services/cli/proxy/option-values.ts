import { isIP } from "node:net";
import { hostname } from "node:os";
import { resolve } from "node:path";
import { InvalidArgumentError } from "commander";
import { wholeNumber } from "../numbers.ts";
import { type Address, isName, type Upstream } from "./plan.ts";

/** Reads an option that may be given several times. */
export function listOf<T>(read: (text: string) => T): (text: string, before: T[] | undefined) => T[] {
  return (text, before = []) => [...before, read(text)];
}

export function upstreamOf(text: string): Upstream {
  const match = /^(?:\[([\da-f:.]+)\]|([a-z\d](?:[a-z\d.-]*[a-z\d])?)):(\d+)(?:\/(\d+))?$/i.exec(text);
  const wanted =
    "give <host>:<port>, such as 10.0.0.4:2525, [2001:db8::4]:2525 or 127.0.0.1:2525/9525 with its health port.";
  if (!match) throw new InvalidArgumentError(wanted);
  return {
    host: (match[1] ?? match[2] ?? "").toLowerCase(),
    port: port(match[3] ?? ""),
    healthPort: match[4] === undefined ? undefined : port(match[4]),
  };
}

export function nameOf(text: string): Upstream {
  const upstream = upstreamOf(text);
  if (!isName(upstream.host))
    throw new InvalidArgumentError("give a name: an address is one edge, for --edge or --starttls-edge.");
  return upstream;
}

export function addressOf(text: string): Address {
  const { host, port, healthPort } = upstreamOf(text);
  if (healthPort !== undefined) throw new InvalidArgumentError("give <host>:<port>, such as 10.0.0.2:53.");
  return { host, port };
}

export function count(text: string): number {
  const number = wholeNumber(text);
  if (number < 1 || number > 1_000) throw new InvalidArgumentError("give a number from 1 to 1000.");
  return number;
}

export function port(text: string): number {
  const number = wholeNumber(text);
  if (number < 1 || number > 65_535) throw new InvalidArgumentError("give a port from 1 to 65535.");
  return number;
}

export function portOrNone(text: string): number {
  return text === "0" ? 0 : port(text);
}

export function percent(text: string): number {
  const number = wholeNumber(text);
  if (number > 100) throw new InvalidArgumentError("give a percentage from 0 to 100.");
  return number;
}

/** A name as it may stand in a configuration file without a second thought. */
export function domainName(text: string): string {
  if (!/^(?=.{1,253}$)[a-z\d](?:[a-z\d-]*[a-z\d])?(?:\.[a-z\d](?:[a-z\d-]*[a-z\d])?)*$/i.test(text))
    throw new InvalidArgumentError("give a host name, such as mail.example.com.");
  return text.toLowerCase();
}

export function safeDefaultName(): string {
  try {
    return domainName(hostname());
  } catch {
    return "localhost";
  }
}

/** Quoting is a matter of each format; paths that need it are not worth it. */
export function path(text: string): string {
  const absolute = resolve(text);
  if (text === "" || !/^[\w./+@:-]+$/.test(absolute))
    throw new InvalidArgumentError("give a path of letters, digits and . _ - + @ : / alone.");
  return absolute;
}

export function ipAddress(text: string): string {
  const bare = text.replace(/^\[(.*)\]$/, "$1");
  if (!isIP(bare)) throw new InvalidArgumentError("give an address, such as 192.0.2.1 or ::1.");
  return bare;
}

export function httpsUrl(text: string): string {
  if (!/^https:\/\/[\w.:[\]-]+(\/[\w./~-]*)?$/.test(text) || !URL.canParse(text))
    throw new InvalidArgumentError("give a URL such as https://acme.example.com/directory.");
  return text;
}
