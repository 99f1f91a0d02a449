import { existsSync } from "node:fs";
import { resolve } from "node:path";
import { type CertificateFiles, type Listener, shifted } from "./listeners.ts";
import type { Settings } from "./settings.ts";

/** The proxy that `millrace up` runs before its edges. */
export interface LocalProxy {
  kind: NonNullable<Settings["UP_PROXY"]>;
  host: string;
  /** With TLS from the first octet on, which ends at the proxy. */
  smtpsPort: number;
  /** Passed on to the edges, which answer STARTTLS. */
  starttlsPort: number;
  /** Of proxy and edges alike; key and certificate may be one file. */
  certificate: CertificateFiles;
  /** Whether the certificate is one that `up` makes. */
  selfMade: boolean;
  /** Folder of its configuration, its socket and a certificate made for it. Absolute. */
  folder: string;
}

/** Names of the edges' listeners that this proxy alone connects to. */
export const proxiedListeners = { smtps: "proxied-smtps", starttls: "proxied-starttls" } as const;

/** Addresses from which it connects to the edges. */
const from = ["127.0.0.1"];

/** The environment, and with this proxy what lets it know how the edges are, where nobody has set it. */
export function withProxyDefaults(
  env: Record<string, string | undefined>,
): Record<string, string | undefined> {
  if (!env.UP_PROXY) return env;
  return {
    ...env,
    HEALTH_PORT: env.HEALTH_PORT || "9525",
    // HAProxy looks every two seconds, and twice before it believes; then there is a second left.
    SMTP_DRAIN_SECONDS: env.SMTP_DRAIN_SECONDS || "5",
  };
}

/** What is wrong with its settings, in lines that name the key, the value and the cure. */
export function localProxyProblems(settings: Settings, root: string): string[] {
  const { UP_PROXY, UP_PROXY_CERT: cert, UP_PROXY_KEY: key } = settings;
  if (!UP_PROXY) return [];
  const problems: string[] = [];
  if (key && !cert)
    problems.push(`UP_PROXY_KEY=${key}, but UP_PROXY_CERT is not set: name its certificate, or leave it out`);
  for (const name of ["UP_PROXY_CERT", "UP_PROXY_KEY"] as const) {
    const path = settings[name];
    if (path && !existsSync(resolve(root, path)))
      problems.push(`${name}=${path}: there is no such file; name a PEM file, or leave it out`);
  }
  if (settings.UP_PROXY_SMTPS_PORT === settings.UP_PROXY_STARTTLS_PORT)
    problems.push(
      `UP_PROXY_STARTTLS_PORT=${settings.UP_PROXY_STARTTLS_PORT} is UP_PROXY_SMTPS_PORT as well: a session begins either with TLS or in the clear; choose two ports`,
    );
  return problems;
}

/** @param data folder of everything that is kept; absolute */
export function localProxyOf(settings: Settings, root: string, data: string): LocalProxy | undefined {
  const { UP_PROXY, UP_PROXY_CERT: cert, UP_PROXY_KEY: key } = settings;
  if (!UP_PROXY) return undefined;
  const folder = `${data}/proxy`;
  return {
    kind: UP_PROXY,
    host: settings.UP_PROXY_HOST,
    smtpsPort: settings.UP_PROXY_SMTPS_PORT,
    starttlsPort: settings.UP_PROXY_STARTTLS_PORT,
    certificate: cert
      ? {
          cert: resolve(root, cert),
          key: resolve(root, key ?? cert),
          called: {
            cert: `UP_PROXY_CERT=${cert}`,
            key: key ? `UP_PROXY_KEY=${key}` : "the key in the same file (UP_PROXY_KEY is not set)",
          },
        }
      : {
          cert: `${folder}/self-made.pem`,
          // Where HAProxy looks for the key of a certificate without one.
          key: `${folder}/self-made.pem.key`,
          called: {
            cert: `UP_PROXY=${UP_PROXY}: ${folder}/self-made.pem`,
            key: `${folder}/self-made.pem.key`,
          },
        },
    selfMade: !cert,
    folder,
  };
}

/** What each edge listens on for it, on this machine alone. */
export function listenersOfProxy(proxy: LocalProxy, settings: Settings): Listener[] {
  const { EDGE_NUMBER, UP_PROXY_EDGE_PORT, UP_PROXY_EDGE_STARTTLS_PORT } = settings;
  const shared = { host: "127.0.0.1", names: [], proxies: from };
  return [
    {
      ...shared,
      name: proxiedListeners.smtps,
      port: shifted(UP_PROXY_EDGE_PORT, EDGE_NUMBER),
      tls: "proxy",
      certificate: undefined,
      called: { host: "UP_PROXY", port: "UP_PROXY_EDGE_PORT" },
    },
    {
      ...shared,
      name: proxiedListeners.starttls,
      port: shifted(UP_PROXY_EDGE_STARTTLS_PORT, EDGE_NUMBER),
      tls: "starttls",
      certificate: proxy.certificate,
      called: { host: "UP_PROXY", port: "UP_PROXY_EDGE_STARTTLS_PORT" },
    },
  ];
}
