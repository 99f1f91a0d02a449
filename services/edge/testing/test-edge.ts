import { randomUUID } from "node:crypto";
import { openLimits } from "@millrace/limits";
import { type Manifest, routeSchema, type TargetConfig } from "@millrace/mail";
import { type Intake, openIntake } from "@millrace/pipeline/runtime";
import {
  type AuthConfig,
  type Config,
  createLogger,
  loadConfig,
  type PolicyConfig,
  patientRedis,
} from "@millrace/service";
import { redisSpool, type Spool } from "@millrace/spool";
import { SmtpDialogue } from "@millrace/test/smtp-dialogue";
import { type Authentication, openAuthentication } from "../authentication.ts";
import { type Edge, startEdge } from "../edge-server.ts";

/** An edge on a free port, on a Redis a test has started. */
export interface TestEdge {
  port: number;
  edge: Edge;
  /** Where accepted messages are to be found, through a client of the test's own. */
  spool: Spool;
  intake: Intake;
  /** The log lines so far. */
  log: Record<string, unknown>[];
  /** A client that has said EHLO. */
  client(name?: string): Promise<SmtpDialogue>;
  /** Manifest and body of the message a 250 reply names. */
  stored(reply: string): Promise<{ manifest: Manifest; body: string; own: string; field: string }>;
  /** Closes the edge alone. */
  close: Edge["close"];
  /** Closes the edge and all that belongs to it. */
  end(): Promise<void>;
}

export interface TestEdgeOptions {
  /** Environment of the edge: settings by their names. */
  env?: Record<string, string>;
  /** Instead of the one listener that `env` describes. */
  listeners?: Partial<Config["listeners"][number]>[];
  recipients?: string[];
  hostname?: string;
  policies?: PolicyConfig[];
  relay?: TargetConfig;
  auth?: AuthConfig;
  /** Stands between the edge and its intake. */
  around?: (intake: Intake) => Intake;
}

/** Starts an edge for `*@example.com` (unless told otherwise) on the Redis at `redisUrl`. */
export async function startTestEdge(redisUrl: string, options: TestEdgeOptions = {}): Promise<TestEdge> {
  const { env = {}, recipients = ["*@example.com"], hostname = "mx.example.test", policies = [] } = options;
  const { settings, listeners: described } = await loadConfig(
    { SMTP_PORT: "0", ...env },
    import.meta.dirname,
  );
  const [first] = described as [Config["listeners"][number]];
  const listeners = options.listeners?.map((each, i) => ({ ...first, name: `listener-${i + 1}`, ...each }));
  const log: Record<string, unknown>[] = [];
  const logger = createLogger("edge", "debug", { write: (line: string) => void log.push(JSON.parse(line)) });
  const redis = patientRedis(redisUrl);
  // Without a subscriber the intake takes nothing in: nobody would look at it.
  const subscription = { v: 1, worker: "nobody", events: ["message.received"], since: Date.now() };
  await redis.hset("millrace:subscriptions", "nobody", JSON.stringify(subscription));
  const opened = await openIntake(redisUrl, logger, settings);
  const intake = options.around?.(opened) ?? opened;
  const limits = await openLimits(redisUrl, settings);
  let authentication: Authentication | undefined;
  const routes = [routeSchema.parse({ recipients, to: { maildir: `/nowhere/${randomUUID()}` } })];
  const release = async () => {
    await authentication?.close();
    await limits?.close();
    await opened.close();
    redis.disconnect();
  };
  const start = async () => {
    if (settings.SMTP_ENABLE_AUTH)
      authentication = await openAuthentication({ settings, redisUrl, auth: options.auth }, logger);
    return startEdge({
      settings,
      listeners: listeners ?? described,
      hostname,
      routes,
      relay: options.relay,
      authentication,
      limits,
      intake,
      policies,
      log: logger,
    });
  };
  const edge = await start().catch(async (error) => {
    await release();
    throw error;
  });
  const spool = redisSpool(redis);
  return {
    port: edge.port,
    edge,
    spool,
    intake,
    log,
    client: (name) => SmtpDialogue.greeted(edge.port, name),
    async stored(reply) {
      const id = /queued as (\S+)$/.exec(reply)?.[1] ?? "";
      const manifest = await spool.manifest(id);
      if (!manifest) throw new Error(`nothing is stored for "${reply}"`);
      const body = (await spool.read(id)).toString("latin1");
      const at = manifest.receivedFieldSize;
      return { manifest, body, field: body.slice(0, at), own: body.slice(at) };
    },
    close: edge.close,
    async end() {
      await edge.close();
      await release();
    },
  };
}

/** MAIL, RCPT and DATA, up to the 354. */
export async function beginMessage(
  client: SmtpDialogue,
  { from = "sender@example.org", to = ["user@example.com"], parameters = "" } = {},
): Promise<void> {
  await client.send(`MAIL FROM:<${from}>${parameters}`);
  await client.expect("250 2.1.0");
  for (const recipient of to) {
    await client.send(`RCPT TO:<${recipient}>`);
    await client.expect("250 2.1.5");
  }
  await client.send("DATA");
  await client.expect("354 ");
}
