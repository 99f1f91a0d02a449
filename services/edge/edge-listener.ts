import type { AddressInfo } from "node:net";
import { addressesOf, type Listener, type Logger, type Settings, StartError } from "@millrace/service";
import type { SMTPServerOptions } from "smtp-server";
import type { SMTPConnection } from "smtp-server/lib/smtp-connection.js";
import { type Certificates, openCertificates } from "./certificates.ts";
import type { Decisions } from "./connection.ts";
import { GuardedServer } from "./guarded-server.ts";
import type { EdgeMetrics } from "./metrics.ts";

/** What the listeners of one edge have in common. */
export interface ListenerRules {
  settings: Settings;
  hostname: string;
  decisions: Decisions;
  metrics: EdgeMetrics;
  /** Milliseconds for all policies that are asked at one moment. */
  decisionTimeout: number;
  connections: Set<SMTPConnection>;
  log: Logger;
}

/** A listener at work. */
export interface OpenListener {
  name: string;
  host: string;
  port: number;
  tls: Listener["tls"];
  server: GuardedServer;
  certificates: Certificates | undefined;
  /** Stops listening, and resolves when its last connection is gone. */
  close(): Promise<void>;
}

/** @throws StartError when it cannot listen, or a certificate cannot be used */
export async function openListener(listener: Listener, rules: ListenerRules): Promise<OpenListener> {
  const { name, tls, host, certificate } = listener;
  const certificates =
    certificate &&
    openCertificates(listener, certificate, rules.log, (own) => server.secureContext.set("*", own));
  const server = createServer(listener, certificates, rules);
  server.on("error", (error) => rules.log.debug({ listener: name, err: error }, "connection failed"));
  try {
    const port = await listen(server, listener);
    return {
      name,
      host,
      port,
      tls,
      server,
      certificates,
      async close() {
        certificates?.close();
        await server.shutDown();
      },
    };
  } catch (error) {
    certificates?.close();
    throw error;
  }
}

function createServer(
  listener: Listener,
  certificates: Certificates | undefined,
  { settings, hostname, decisions, metrics, decisionTimeout, connections, log }: ListenerRules,
): GuardedServer {
  const { name, tls, proxies } = listener;
  const options: SMTPServerOptions = {
    name: hostname,
    banner: "Millrace",
    heloResponse: "%s greets %s",
    size: settings.SMTP_MAX_MESSAGE_BYTES,
    maxRecipients: settings.SMTP_MAX_RECIPIENTS,
    maxClients: settings.SMTP_MAX_CLIENTS,
    maxCommandLength: settings.SMTP_MAX_COMMAND_BYTES,
    hideENHANCEDSTATUSCODES: false,
    disableReverseLookup: true,
    logger: false,
    disabledCommands: [
      ...["WIZ", "SHELL", "KILL"],
      ...(tls === "starttls" ? [] : ["STARTTLS"]),
      ...(decisions.authenticate ? [] : ["AUTH"]),
    ],
    authMethods: ["PLAIN", "LOGIN"],
    authOptional: true,
    secure: tls === "implicit" || tls === "proxy",
    secured: tls === "proxy",
    // Without a certificate of its own, smtp-server has one whose key is published. Where it has none here, it offers
    // no TLS at all.
    ...(certificates && {
      ...certificates.first,
      SNICallback: (serverName, callback) => callback(null, certificates.contextFor(serverName)),
    }),
  };
  const limits = {
    commandTimeout: settings.SMTP_COMMAND_TIMEOUT_SECONDS * 1_000,
    dataTimeout: settings.SMTP_DATA_TIMEOUT_SECONDS * 1_000,
    commitTimeout: settings.SMTP_COMMIT_TIMEOUT_SECONDS * 1_000,
    decisionTimeout,
    maxErrors: settings.SMTP_MAX_ERRORS,
  };
  const server = new GuardedServer(options, limits, decisions, {
    tls,
    connections,
    proxies: proxies && addressesOf(proxies),
    handshakeTimeout: settings.SMTP_HANDSHAKE_TIMEOUT_SECONDS * 1_000,
    spoke: () => metrics.spoke(name),
    probed: () => metrics.probed(name),
    replied: (code) => metrics.replied(name, code),
    unauthenticated: (refusal) => metrics.unauthenticated(name, refusal),
    failed(failure) {
      metrics.failed(name, failure);
      const { what, peer, reason } = failure;
      if (what === "proxy") log.warn({ listener: name, peer, reason }, "PROXY header refused");
      else log.info({ listener: name, peer, reason }, "TLS handshake failed");
    },
  });
  // Ours has the oldest version we allow; smtp-server's own goes back to TLS 1.0.
  if (certificates) server.secureContext.set("*", certificates.contextFor());
  return server;
}

function listen(server: GuardedServer, { host, port, called }: Listener): Promise<number> {
  return new Promise((resolve, reject) => {
    const refused = (error: NodeJS.ErrnoException) => {
      const reasons: Record<string, string> = {
        EADDRINUSE: `${called.port}=${port} is in use on ${host}: stop what listens there, or set ${called.port} to a free one`,
        EACCES: `${called.port}=${port} is for root only: set ${called.port} to one from 1024, and let a proxy listen on this one`,
        EADDRNOTAVAIL: `${called.host}=${host} is no address of this machine: set ${called.host} to one that is, or to 0.0.0.0`,
      };
      const cannot = `${called.host}=${host} ${called.port}=${port}: cannot listen there (${error.message}); choose others`;
      reject(new StartError(reasons[error.code ?? ""] ?? cannot));
    };
    server.once("error", refused);
    server.listen(port, host, () => {
      server.off("error", refused);
      resolve((server.server.address() as AddressInfo).port);
    });
  });
}
