import { setTimeout as sleep } from "node:timers/promises";
import type { Limits } from "@millrace/limits";
import type { Route, TargetConfig } from "@millrace/mail";
import {
  isLoopback,
  type Listener,
  type Logger,
  openRelays,
  type PolicyConfig,
  type Settings,
} from "@millrace/service";
import type { SMTPConnection } from "smtp-server/lib/smtp-connection.js";
import { acceptMessage } from "./accept-message.ts";
import type { Authentication } from "./authentication.ts";
import { type OpenListener, openListener } from "./edge-listener.ts";
import { limitChecks } from "./limits.ts";
import { type EdgeIntake, edgeMetrics } from "./metrics.ts";
import { hopsPolicy } from "./policies/own-policies.ts";
import { openPolicies, type Policies } from "./policies/policies.ts";
import { TransactionTags } from "./policies/transaction-tags.ts";
import { transactionChecks } from "./transaction.ts";
import { Turns } from "./turns.ts";

/** Writes to the spool at once, of some 64 KB each: enough to keep Redis busy through every fsync. */
const writesAtOnce = 32;

export interface EdgeOptions {
  settings: Settings;
  listeners: readonly Listener[];
  hostname: string;
  routes: readonly Route[];
  relay: TargetConfig | undefined;
  /** Without it there is no AUTH. */
  authentication: Authentication | undefined;
  /** Without them nothing is limited but by this edge's own figures. */
  limits: Limits | undefined;
  intake: EdgeIntake;
  /** Who is asked about each transaction, in this order. */
  policies: readonly PolicyConfig[];
  log: Logger;
}

export interface Edge {
  /** Port of the first listener. */
  port: number;
  listening: { name: string; host: string; port: number; tls: Listener["tls"] }[];
  /** Why no client should be sent here now; undefined when one should. */
  unready(): string | undefined;
  /** The figures in Prometheus's text format. */
  metrics(): Promise<{ type: string; text: string }>;
  /** Reads the certificates again. */
  reload(): void;
  /**
   * Goes on for SMTP_DRAIN_SECONDS, no longer ready, unless it is not to drain. Then stops listening, lets messages under way finish and tells
   * everybody else to come back. Resolves within SMTP_COMMIT_TIMEOUT_SECONDS, the time of all policies together
   * and 15 seconds after that.
   */
  close(options?: { drain: boolean }): Promise<void>;
}

/**
 * Starts the policies and the SMTP server.
 * @throws StartError when it cannot listen, a certificate cannot be used, or a policy does not load
 */
export async function startEdge(options: EdgeOptions): Promise<Edge> {
  const policies = await openPolicies(options.policies, options.settings.POLICY_HEAP_MB, options.log);
  try {
    return await startServer(options, policies);
  } catch (error) {
    await policies.close();
    throw error;
  }
}

async function startServer(options: EdgeOptions, policies: Policies): Promise<Edge> {
  const { settings, hostname, routes, relay, authentication, log } = options;
  const open: OpenListener[] = [];
  let draining = false;
  const unready = () => (draining ? "draining" : options.intake.unavailable()?.reason);
  const metrics = edgeMetrics({
    connections: () => new Map(open.map(({ name, server }) => [name, server.present.size])),
    unready,
    unavailable: () => options.intake.unavailable(),
    expiries: () => open.flatMap(({ certificates }) => certificates?.expiries() ?? []),
  });
  const intake = metrics.timed(options.intake);
  const tags = new TransactionTags();
  const limits = limitChecks({ limits: options.limits, settings, metrics, log });
  const rules = {
    hostname,
    intake,
    policies,
    tags,
    log,
    turns: new Turns(writesAtOnce),
    commitTimeout: settings.SMTP_COMMIT_TIMEOUT_SECONDS * 1_000,
    maxOctets: settings.SMTP_MAX_MESSAGE_BYTES,
    hops: hopsPolicy(settings.SMTP_MAX_HOPS),
    bareLineEndings: settings.SMTP_BARE_LINE_ENDINGS,
  };
  const shared = {
    settings,
    hostname,
    metrics,
    decisionTimeout: policies.longest,
    log,
    connections: new Set<SMTPConnection>(),
    decisions: {
      ...transactionChecks({ hostname, routes, relay, intake, policies, tags, limits, log }),
      admit: limits.admit,
      left: limits.left,
      data: (connection: Parameters<typeof acceptMessage>[1]) => acceptMessage(rules, connection),
      authenticate: authentication?.authenticate,
      connected: ({ id, remoteAddress }: { id: string; remoteAddress: string }) =>
        log.debug({ session: id, client: remoteAddress }, "connected"),
      closed: ({ id, remoteAddress }: { id: string; remoteAddress: string }) =>
        log.debug({ session: id, client: remoteAddress }, "disconnected"),
    },
  };
  for (const line of openRelays({ routes, listeners: options.listeners })) log.warn(line);
  const closeAll = () => Promise.all(open.map((each) => each.close()));
  try {
    for (const listener of options.listeners) {
      warnOfOpenDoor(listener, log);
      open.push(await openListener(listener, shared));
    }
  } catch (error) {
    await closeAll();
    throw error;
  }
  return {
    port: open[0]?.port ?? 0,
    listening: open.map(({ name, host, port, tls }) => ({ name, host, port, tls })),
    unready,
    metrics: metrics.text,
    reload() {
      for (const { certificates } of open) certificates?.reload();
      log.info({ listeners: open.map(({ name }) => name) }, "certificates read again");
    },
    async close({ drain } = { drain: true }) {
      draining = true;
      const { SMTP_DRAIN_SECONDS: seconds } = settings;
      if (drain && seconds > 0) {
        log.info({ seconds }, "draining");
        await sleep(seconds * 1_000);
      }
      await closeAll();
      await policies.close();
    },
  };
}

/** Whoever reaches such a listener past its proxy counts as secure, with a connection in the clear. */
function warnOfOpenDoor({ name, host, tls, proxies }: Listener, log: Logger): void {
  if (tls !== "proxy" || proxies || isLoopback(host)) return;
  log.warn(
    { listener: name, host },
    "every session counts as secure, whoever connects: let the proxy send PROXY headers and name it in proxyProtocol.from, or see that nobody else reaches this address",
  );
}
