import { resolve } from "node:path";
import { z } from "zod";
import { cidrsIn, isCidr } from "./cidr.ts";
import type { Settings } from "./settings.ts";
import { type TlsMode, tlsModes } from "./tls-modes.ts";

/** Two PEM files: a certificate with its chain, and the private key. Absolute paths. */
export interface CertificateFiles {
  cert: string;
  key: string;
  /** What the configuration calls the two: for messages. */
  called: { cert: string; key: string };
}

/** One address an edge listens on. */
export interface Listener {
  /** What logs and metrics call it. */
  name: string;
  host: string;
  port: number;
  tls: TlsMode;
  /** There with `starttls` and `implicit`. */
  certificate: CertificateFiles | undefined;
  /** Certificates for other names that clients ask for (SNI), in lower case; `*.example.com` is any one label. */
  names: (CertificateFiles & { serverNames: string[] })[];
  /** CIDRs of the proxies that stand before it; undefined when clients connect by themselves. */
  proxies: string[] | undefined;
  /** What the configuration calls them: for messages. */
  called: { host: string; port: string };
}

const cidrWanted = "give an address or a network, such as 10.0.0.0/8 or 2001:db8::1";
const cidr = z.string().refine(isCidr, cidrWanted);
const pemFile = z.string().min(1);
const listOf = <T extends z.ZodType>(one: T, wanted: string) =>
  z.union([one.transform((value) => [value]), z.array(one).min(1)], wanted);

export const listenerSchema = z
  .strictObject({
    name: z
      .string()
      .regex(/^[\w.:-]{1,64}$/, "a name has letters, digits and _ . : - alone, 64 at most")
      .optional(),
    host: z.string().min(1).default("127.0.0.1"),
    port: z.int().min(0).max(65_535),
    tls: z.enum(tlsModes).default("off"),
    cert: pemFile.optional(),
    key: pemFile.optional(),
    names: z
      .array(
        z.strictObject({
          serverNames: listOf(z.string().min(1), "give a name, or a list of names"),
          cert: pemFile,
          key: pemFile,
        }),
      )
      .optional(),
    proxyProtocol: z.strictObject({ from: listOf(cidr, cidrWanted) }).optional(),
  })
  .superRefine(({ tls, cert, key, names }, context) => {
    const native = tls === "starttls" || tls === "implicit";
    if (native && !(cert && key))
      context.addIssue({ code: "custom", message: `tls "${tls}" needs cert and key, two PEM files` });
    if (!native && (cert || key || names))
      context.addIssue({
        code: "custom",
        message: `with tls "${tls}" no certificate is used: leave out cert, key and names, or write "starttls" or "implicit"`,
      });
  });
export type ListenerConfig = z.output<typeof listenerSchema>;

/** Whether a session may be private there. A proxy may also tell it of each connection, in a header of version 2. */
export function maybeSecure({ tls, proxies }: Pick<Listener, "tls" | "proxies">): boolean {
  return tls !== "off" || proxies !== undefined;
}

/** Whether only this machine reaches a listener there. */
export function isLoopback(host: string): boolean {
  return /^(127\.|::1$|localhost$)/.test(host);
}

/** What `listeners:` says. Each edge of a machine has ports of its own: EDGE_NUMBER - 1 is added to each. */
export function listenersOf(
  configs: readonly ListenerConfig[],
  { EDGE_NUMBER }: Settings,
  root: string,
): Listener[] {
  const files = (at: string, cert: string, key: string): CertificateFiles => ({
    cert: resolve(root, cert),
    key: resolve(root, key),
    called: { cert: `${at}.cert=${cert}`, key: `${at}.key=${key}` },
  });
  return configs.map(({ name, host, port, tls, cert, key, names = [], proxyProtocol }, i) => {
    const at = `listeners[${i}]`;
    return {
      name: name ?? `${host}:${port}`,
      host,
      port: shifted(port, EDGE_NUMBER),
      tls,
      certificate: cert && key ? files(at, cert, key) : undefined,
      names: names.map((each, n) => ({
        serverNames: each.serverNames.map((serverName) => serverName.toLowerCase()),
        ...files(`${at}.names[${n}]`, each.cert, each.key),
      })),
      proxies: proxyProtocol?.from,
      called: { host: `${at}.host`, port: `${at}.port` },
    };
  });
}

/** The one listener that the environment describes. */
export function listenerOfSettings(settings: Settings, root: string): Listener {
  const { SMTP_HOST, SMTP_PORT, SMTP_TLS_CERT, SMTP_TLS_KEY, EDGE_NUMBER } = settings;
  const tls = tlsModeOf(settings);
  const native = tls === "starttls" || tls === "implicit";
  return {
    name: "smtp",
    host: SMTP_HOST,
    port: shifted(SMTP_PORT, EDGE_NUMBER),
    tls,
    certificate:
      native && SMTP_TLS_CERT && SMTP_TLS_KEY
        ? {
            cert: resolve(root, SMTP_TLS_CERT),
            key: resolve(root, SMTP_TLS_KEY),
            called: { cert: `SMTP_TLS_CERT=${SMTP_TLS_CERT}`, key: `SMTP_TLS_KEY=${SMTP_TLS_KEY}` },
          }
        : undefined,
    names: [],
    proxies: proxiesOf(settings),
    called: { host: "SMTP_HOST", port: "SMTP_PORT" },
  };
}

/** SMTP_ENABLE_TLS is the short way to say `starttls`. */
export function tlsModeOf({ SMTP_TLS_MODE, SMTP_ENABLE_TLS }: Settings): TlsMode {
  return SMTP_TLS_MODE ?? (SMTP_ENABLE_TLS ? "starttls" : "off");
}

export function proxiesOf({ SMTP_PROXY_PROTOCOL_FROM: from }: Settings): string[] | undefined {
  return from === undefined ? undefined : cidrsIn(from);
}

export function shifted(port: number, edgeNumber: number): number {
  return port === 0 ? 0 : port + edgeNumber - 1;
}

/** A port that something is to listen on, and what the configuration calls it. */
export interface PortInUse {
  host: string;
  port: number;
  called: string;
}

/**
 * What is wrong with the ports when so many edges run on one machine, each of which takes the port after the last
 * one's: in lines that name the setting, the value and the cure.
 */
export function portProblems(ports: readonly PortInUse[], edges: number): string[] {
  const problems: string[] = [];
  const taken: (PortInUse & { edge: number })[] = [];
  for (let edge = 1; edge <= edges; edge++) {
    for (const each of ports) {
      if (each.port === 0) continue;
      const port = each.port + edge - 1;
      const other = taken.find((one) => one.port === port && sameHost(one.host, each.host));
      if (port > 65_535) {
        problems.push(`${each.called}=${each.port} leaves no port for edge ${edge}: choose a lower one`);
      } else if (other) {
        const first =
          other.edge === edge
            ? `${other.called} is the same`
            : `edge ${other.edge} of ${edges} has ${port} as its ${other.called}`;
        const cure = edges === 1 ? "choose another" : `keep ${edges} ports free from each one on`;
        problems.push(`${each.called}=${each.port}: ${first}; ${cure}`);
      }
      taken.push({ ...each, port, edge });
    }
    // The edges after it would only say the same again.
    if (problems.length > 0) break;
  }
  return problems;
}

function sameHost(one: string, other: string): boolean {
  const any = ["0.0.0.0", "::"];
  return one === other || any.includes(one) || any.includes(other);
}
