import { setTimeout as sleep, setImmediate as turn } from "node:timers/promises";
import { type Keeping, type MessageId, type Route, routeFor } from "@millrace/mail";
import type { KeptMessage, MailStore } from "@millrace/mailstore";
import type { Redis } from "ioredis";
import { stillInFlight } from "./remove-message.ts";

export interface RetentionOptions {
  routes: readonly Route[];
  /** Opened for writing, unless it is a dry run. */
  mailstore: MailStore;
  redis: Redis;
  /** Counts what would go. */
  dryRun?: boolean;
  /** Also messages that have dead letters, whatever their routes say. */
  withDeadLetters?: boolean;
  /** Ends the run between two batches. */
  signal?: AbortSignal;
  progress?(summary: RetentionSummary): void;
}

export interface RetentionSummary {
  /** Messages looked at: with limits of age alone, only those old enough for one. */
  looked: number;
  /** Messages that went, and the octets of their blobs. */
  messages: number;
  octets: number;
  /** The same by route; a message of several routes stands under each. */
  routes: { recipients: string[]; keep: Keeping; messages: number; octets: number }[];
  /** Beyond their limits, and kept: not at their end yet, or with dead letters. */
  keptInFlight: number;
  keptDeadLetters: number;
}

/** Messages removed in one transaction: the write lock is held for some ten milliseconds. */
const batchSize = 100;
const pageSize = 1_000;
const day = 86_400_000;

/**
 * Removes the messages that are beyond the limits of every one of their routes: with several, the longest keeping
 * wins, and a route without limits keeps for ever, as does no route at all. Only messages that have reached their end,
 * and by default only those without dead letters. In small batches with pauses as long as the work, so that mail
 * goes on being stored meanwhile; an interrupted run has done a part, and the next one does the rest.
 */
export async function retain(options: RetentionOptions, now = Date.now()): Promise<RetentionSummary> {
  const { mailstore, redis, dryRun, signal } = options;
  const rules = new Map<Route, RetentionSummary["routes"][number]>();
  for (const route of options.routes) {
    const { recipients, keep } = route;
    if (keep) rules.set(route, { recipients, keep, messages: 0, octets: 0 });
  }
  const summary: RetentionSummary = {
    ...{
      looked: 0,
      messages: 0,
      octets: 0,
      routes: [...rules.values()],
      keptInFlight: 0,
      keptDeadLetters: 0,
    },
  };
  if (rules.size === 0) return summary;

  const limits = new Limits(options.routes, now);
  let batch: KeptMessage[] = [];
  const flush = async () => {
    if (batch.length === 0) return;
    const inFlight = await stillInFlight(
      redis,
      batch.map(({ id }) => id),
    );
    const going = batch.filter(({ id }) => !inFlight.has(id));
    batch = [];
    summary.keptInFlight += inFlight.size;
    if (!dryRun) await removeGently(mailstore, going);
    for (const { octets, recipients } of going) {
      summary.messages++;
      summary.octets += octets;
      for (const route of limits.routesOf(recipients)) {
        const rule = rules.get(route);
        if (!rule) continue;
        rule.messages++;
        rule.octets += octets;
      }
    }
    options.progress?.(summary);
  };

  const until = limits.nothingYoungerThan();
  for (let after: string | undefined; !signal?.aborted; ) {
    const page = mailstore.walk({ limit: pageSize, after, until });
    for (const message of page) {
      summary.looked++;
      const released = limits.releases(message);
      if (!released) continue;
      if (!message.ended) summary.keptInFlight++;
      else if (message.hasDeadLetters && !(options.withDeadLetters || released.withDeadLetters))
        summary.keptDeadLetters++;
      else batch.push(message);
      if (batch.length >= batchSize) await flush();
      if (signal?.aborted) break;
    }
    options.progress?.(summary);
    if (page.length < pageSize) break;
    after = page.at(-1)?.position;
    await turn();
  }
  await flush();
  return summary;
}

async function removeGently(mailstore: MailStore, messages: readonly { id: MessageId }[]): Promise<void> {
  const started = performance.now();
  await mailstore.remove(
    messages.map(({ id }) => id),
    "retention",
  );
  await sleep(Math.min(performance.now() - started, 500));
}

/** What the routes' limits say about messages that are given to it newest first. */
class Limits {
  private readonly routes: readonly Route[];
  private readonly now: number;
  /** Octets of the messages of each route so far. */
  private readonly totals = new Map<Route, number>();
  private readonly known = new Map<string, Route | undefined>();

  constructor(routes: readonly Route[], now: number) {
    this.routes = routes;
    this.now = now;
  }

  /** The time in milliseconds from which on no message can be beyond a limit; undefined when each must be looked at. */
  nothingYoungerThan(): number | undefined {
    const rules = this.routes.flatMap(({ keep }) => keep ?? []);
    if (rules.some(({ megabytes }) => megabytes !== undefined)) return undefined;
    return this.now - Math.min(...rules.map(({ days }) => days ?? Number.POSITIVE_INFINITY)) * day;
  }

  routesOf(recipients: readonly string[]): Set<Route> {
    const routes = recipients.map((recipient) => this.routeOf(recipient));
    return new Set(routes.filter((route) => route !== undefined));
  }

  /** Undefined when one of its routes keeps the message; else whether its dead letters may go, too. */
  releases(message: KeptMessage): { withDeadLetters: boolean } | undefined {
    const routes = [...this.routesOf(message.recipients)];
    for (const route of routes) {
      this.totals.set(route, (this.totals.get(route) ?? 0) + message.octets);
    }
    if (routes.length === 0 || !routes.every((route) => this.isBeyond(route, message))) return undefined;
    return { withDeadLetters: routes.every(({ keep }) => keep?.withDeadLetters) };
  }

  private isBeyond(route: Route, { receivedAt }: KeptMessage): boolean {
    const { days, megabytes } = route.keep ?? {};
    if (days !== undefined && this.now - receivedAt > days * day) return true;
    return megabytes !== undefined && (this.totals.get(route) ?? 0) > megabytes * 1_000_000;
  }

  private routeOf(recipient: string): Route | undefined {
    if (!this.known.has(recipient)) {
      // Recipients come in crowds, and matching costs more than looking up; strangers must not fill the memory.
      if (this.known.size > 100_000) this.known.clear();
      this.known.set(recipient, routeFor(this.routes, recipient));
    }
    return this.known.get(recipient);
  }
}
