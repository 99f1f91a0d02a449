import { readFileSync } from "node:fs";
import type { AddressInfo } from "node:net";
import type { Route } from "@millrace/mail";
import type { Intake } from "@millrace/pipeline";
import { type Logger, type Settings, StartError } from "@millrace/service";
import type { SMTPServerOptions } from "smtp-server";
import { acceptMessage } from "./accept-message.ts";
import { GuardedServer } from "./connection-guard.ts";
import { transactionChecks } from "./transaction.ts";
import { Turns } from "./turns.ts";

/** Writes to the spool at once, of some 64 KB each: enough to keep Redis busy through every fsync. */
const writesAtOnce = 32;

export interface EdgeOptions {
  settings: Settings;
  hostname: string;
  routes: readonly Route[];
  intake: Pick<Intake, "unavailable" | "draft" | "accept">;
  log: Logger;
}

export interface Edge {
  port: number;
  /**
   * Stops listening, lets messages under way finish and tells everybody else to come back. Resolves within
   * SMTP_COMMIT_TIMEOUT_SECONDS and 15 seconds.
   */
  close(): Promise<void>;
}

/** Starts the SMTP server. @throws StartError when it cannot listen, or its certificate cannot be used */
export async function startEdge({ settings, hostname, routes, intake, log }: EdgeOptions): Promise<Edge> {
  const rules = {
    hostname,
    intake,
    log,
    turns: new Turns(writesAtOnce),
    maxOctets: settings.SMTP_MAX_MESSAGE_BYTES,
    maxHops: settings.SMTP_MAX_HOPS,
    bareLineEndings: settings.SMTP_BARE_LINE_ENDINGS,
  };
  const limits = {
    commandTimeout: settings.SMTP_COMMAND_TIMEOUT_SECONDS * 1_000,
    dataTimeout: settings.SMTP_DATA_TIMEOUT_SECONDS * 1_000,
    commitTimeout: settings.SMTP_COMMIT_TIMEOUT_SECONDS * 1_000,
    maxErrors: settings.SMTP_MAX_ERRORS,
  };
  const server = createServer(settings, hostname, (options) => {
    return new GuardedServer(options, limits, {
      ...transactionChecks({ hostname, routes, intake, log }),
      data: (connection) => acceptMessage(rules, connection),
      connected: (session) => log.debug({ session: session.id, client: session.remoteAddress }, "connected"),
      closed: (session) => log.debug({ session: session.id, client: session.remoteAddress }, "disconnected"),
    });
  });
  const port = await listen(server, settings);
  server.on("error", (error) => log.debug({ err: error }, "connection failed"));
  return { port, close: () => server.shutDown() };
}

function createServer(
  settings: Settings,
  hostname: string,
  create: (options: SMTPServerOptions) => GuardedServer,
): GuardedServer {
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
  };
  const disabledCommands = ["AUTH", "WIZ", "SHELL", "KILL"];
  if (!settings.SMTP_ENABLE_TLS) {
    return create({ ...options, disabledCommands: [...disabledCommands, "STARTTLS"] });
  }
  const cert = readPem("SMTP_TLS_CERT", settings.SMTP_TLS_CERT);
  const key = readPem("SMTP_TLS_KEY", settings.SMTP_TLS_KEY);
  try {
    return create({ ...options, disabledCommands, cert, key, minVersion: "TLSv1.2" });
  } catch (error) {
    throw new StartError(
      `SMTP_TLS_CERT=${settings.SMTP_TLS_CERT} and SMTP_TLS_KEY=${settings.SMTP_TLS_KEY} cannot be used (${(error as Error).message}): name a certificate chain and its own key, both PEM`,
    );
  }
}

/** Without a certificate of its own, smtp-server would take one whose key is published. */
function readPem(name: string, path: string | undefined): Buffer {
  if (!path) throw new StartError(`${name} is not set, but SMTP_ENABLE_TLS is true: name a PEM file`);
  try {
    return readFileSync(path);
  } catch (error) {
    throw new StartError(`${name}=${path} cannot be read (${(error as Error).message}): name a PEM file`);
  }
}

function listen(server: GuardedServer, { SMTP_HOST: host, SMTP_PORT: port }: Settings): Promise<number> {
  return new Promise((resolve, reject) => {
    const refused = (error: NodeJS.ErrnoException) => {
      const reasons: Record<string, string> = {
        EADDRINUSE: `SMTP_PORT=${port} is in use on ${host}: stop what listens there, or set SMTP_PORT to a free one`,
        EACCES: `SMTP_PORT=${port} is for root only: set SMTP_PORT to one from 1024, and let a proxy listen on this one`,
        EADDRNOTAVAIL: `SMTP_HOST=${host} is no address of this machine: set SMTP_HOST to one that is, or to 0.0.0.0`,
      };
      const cannot = `SMTP_HOST=${host} SMTP_PORT=${port}: cannot listen there (${error.message}); choose others`;
      reject(new StartError(reasons[error.code ?? ""] ?? cannot));
    };
    server.once("error", refused);
    server.listen(port, host, () => {
      server.off("error", refused);
      resolve((server.server.address() as AddressInfo).port);
    });
  });
}
