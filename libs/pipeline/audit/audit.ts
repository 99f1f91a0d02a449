import { setTimeout as sleep } from "node:timers/promises";
import type { Delivery, MessageId, MessageState, Routing } from "@millrace/mail";
import type { StoreSnapshot } from "@millrace/mailstore";
import { ledgerKeys } from "../keys.ts";
import type { Pipeline } from "../open-pipeline.ts";
import { checkBlobs } from "./blobs.ts";
import { checkInFlight } from "./in-flight.ts";
import { arrivals, type Population, takePopulation } from "./population.ts";
import { repair } from "./repair.ts";
import type { AuditFinding, AuditReport, BlobCheck } from "./report.ts";
import { judgeSuspects } from "./suspects.ts";

export interface AuditOptions {
  blobs: BlobCheck;
  /** Ids that senders were told: each of them must have been accepted. */
  acknowledged?: readonly MessageId[];
  /** When mail may be delivered, as the configuration says; once it is stored, unless given. */
  delivery?: Delivery | undefined;
  /** Give back to the workers what can be; `routing` and `by` are for the deliveries that are made again. */
  repair?: { routing: Routing; by: string };
  /** Milliseconds a message on its way from one place to the next has to arrive there. Default 10,000. */
  settlesWithin?: number;
  /** Told of the blobs looked at. */
  progress?(checked: number, total: number): void;
}

/**
 * Reconciles journal, spool, ledger, queues and mail store: whether every message that was accepted has reached its end
 * or is in flight. Reads only, unless asked to repair; works while mail flows.
 * @throws Error when the mail store has not been made
 */
export async function audit(pipeline: Pipeline, options: AuditOptions): Promise<AuditReport> {
  const started = performance.now();
  const asOf = new Date().toISOString();
  const { mailstore } = pipeline;
  const snapshot = () => {
    const taken = mailstore.snapshot();
    if (!taken) throw new Error("there is no mail store yet: start the store worker once");
    return taken;
  };
  const { population, store } = await takePopulation(pipeline, mailstore, snapshot);
  try {
    const check = await checkInFlight(pipeline, population.open);
    const findings = [
      ...(await judgeAll(pipeline, population, check.suspects, options)),
      ...check.findings,
      ...(await unaccepted(pipeline, population, store)),
      ...(await silentFailures(pipeline, store)),
      ...(await unknown(pipeline, options.acknowledged ?? [], store)),
    ];
    const stored = sum(Object.values(store.counts));
    const blobs = await checkBlobs(mailstore, store, options.blobs, (checked) =>
      options.progress?.(checked, stored),
    );
    findings.push(...blobs.findings);
    if (options.repair) {
      const { routing, by } = options.repair;
      for (const finding of findings) finding.repaired = await repair(pipeline, finding, routing, by);
    }

    const terminal = sum(population.terminal.values());
    const inFlight = sum(Object.values(population.inFlight));
    const missing = population.accepted - terminal - inFlight;
    return {
      ...{ asOf, accepted: population.accepted, terminal: Object.fromEntries(population.terminal) },
      ...{ inFlight: population.inFlight, missing, holds: missing === 0 && findings.length === 0 },
      removed: store.removed,
      deadLetters: store.deadLetters,
      oldestInFlightMs: oldest(population.open),
      blobs: { checked: blobs.checked, by: options.blobs },
      findings,
      ms: performance.now() - started,
    };
  } finally {
    store.close();
  }
}

/** A second look at whoever was in no place at the first, and at those in flight that lack something. */
async function judgeAll(
  pipeline: Pipeline,
  population: Population,
  lacking: readonly MessageId[],
  { settlesWithin = 10_000, delivery }: AuditOptions,
): Promise<AuditFinding[]> {
  const { inFlight, terminal, suspects } = population;
  const findings = await judgeSuspects(pipeline, suspects, { settlesWithin, delivery }, (found) => {
    if (found.place === "gone") population.accepted--;
    else if (found.place === "in flight") inFlight[flightOf(found.state)]++;
    else terminal.set(found.state, (terminal.get(found.state) ?? 0) + 1);
  });
  // These have been counted as in flight, which they are.
  return [...findings, ...(await judgeSuspects(pipeline, lacking, { settlesWithin, delivery }, () => {}))];
}

function flightOf(state: MessageState): keyof Population["inFlight"] {
  return state === "received" || state === "stored" || state === "deferred" ? state : "other";
}

/** Those of whom no entry of the journal says that they were accepted. Those accepted since the first look have one. */
async function neverAccepted(
  pipeline: Pipeline,
  ids: Iterable<MessageId>,
  cursor: string,
): Promise<MessageId[]> {
  const late = await arrivals(pipeline, cursor);
  return [...ids].filter((id) => !late.has(id) && !hasArrived(pipeline.mailstore.journal(id)));
}

function hasArrived(entries: readonly { event: string }[]): boolean {
  return entries.some(({ event }) => event === "message.received");
}

/** Strangers that are still here: one that was removed meanwhile has no acceptance either, and needs none. */
async function unaccepted(
  pipeline: Pipeline,
  { strangers }: Population,
  store: StoreSnapshot,
): Promise<AuditFinding[]> {
  const findings: AuditFinding[] = [];
  const ids = new Set([...strangers, ...store.unaccepted()]);
  for (const message of await neverAccepted(pipeline, ids, store.cursor)) {
    const { open } = ledgerKeys(message);
    if (!pipeline.mailstore.has(message) && (await pipeline.redis.zscore(open, message)) === null) continue;
    const detail = "the journal has no message.received for it";
    findings.push({ message, problem: "unaccepted", detail });
  }
  return findings;
}

/** Failures without a dead letter, at two looks: the entries of one end may reach the store in two transactions. */
async function silentFailures(pipeline: Pipeline, store: StoreSnapshot): Promise<AuditFinding[]> {
  const first = [...store.failedSilently()];
  if (first.length === 0) return [];
  await sleep(1_000);
  const second = pipeline.mailstore.snapshot();
  if (!second) return [];
  const still = new Set(second.failedSilently());
  second.close();
  const detail = "its state is failed, and it has no dead letter";
  return first.filter((id) => still.has(id)).map((message) => ({ message, problem: "silent", detail }));
}

/** Ids that senders were told, of which nothing is known here. */
async function unknown(
  pipeline: Pipeline,
  ids: readonly MessageId[],
  store: StoreSnapshot,
): Promise<AuditFinding[]> {
  const candidates = ids.filter((id) => !store.hasArrived(id));
  const detail = "its sender has a 250 for it, and the journal has no message.received";
  const never = await neverAccepted(pipeline, candidates, store.cursor);
  return never.map((message) => ({ message, problem: "unknown", detail }));
}

function sum(numbers: Iterable<number>): number {
  let total = 0;
  for (const number of numbers) total += number;
  return total;
}

function oldest(open: ReadonlyMap<MessageId, number>): number | null {
  let first: number | null = null;
  for (const at of open.values()) first = Math.min(first ?? at, at);
  return first === null ? null : Date.now() - first;
}
