import { type JournalEntry, type Manifest, type MessageId, type Routing, targetsOf } from "@millrace/mail";
import type { DeadLetter, DeadLetterQuery, MailStore, MessageQuery } from "@millrace/mailstore";
import type { Spool } from "@millrace/spool";
import { z } from "zod";
import { clearanceOf } from "./clearance.ts";
import { type EventName, events } from "./events.ts";
import type { Ledger } from "./ledger.ts";
import type { Subscription } from "./subscriptions.ts";
import { type Unit, unitName, workerOf } from "./unit.ts";
import { isWanted, needsParsed } from "./where.ts";

/** A unit of work to be opened again. */
export interface ReplayUnit {
  unit: Unit;
  worker: string;
  /** The dead letter's job, which the new unit takes the place of; else the new unit's own name. */
  job: string;
  /** Id of the target, for deliveries. */
  target?: string | undefined;
  /** What the worker had done of it, as the dead letter kept it. */
  effects?: Readonly<Record<string, string>> | undefined;
}

/** One message of a replay, and what of it is to be run again. */
export interface ReplayItem {
  manifest: Manifest;
  /** Where the selection goes on behind it. */
  position: string;
  /** By name. Empty: there is nothing to run again. */
  units: ReadonlyMap<string, ReplayUnit>;
}

/** What items are made from. */
export interface ReplaySource {
  mailstore: MailStore;
  spool: Pick<Spool, "manifest">;
  ledger: Pick<Ledger, "unitsOf">;
  /** As it is now: a delivery whose target is gone from it goes where it leads today. */
  routing: Routing;
}

/** The name of the built-in worker whose work is for targets. */
const deliver = "deliver";
/** Rows read at once. */
const page = 500;

const deadWork = z.object({
  event: z.string(),
  at: z.number(),
  data: z.record(z.string(), z.unknown()),
  effects: z.record(z.string(), z.string()).optional(),
});

/** The dead letters of a query, oldest first, behind the number `after` and up to `newest`. */
export async function* deadLetterItems(
  source: ReplaySource,
  query: DeadLetterQuery,
  newest: number,
  after: string | undefined,
): AsyncGenerator<ReplayItem> {
  for (let last = Number(after ?? 0); ; ) {
    const letters = source.mailstore.deadLetters(query, { after: last, before: newest + 1, limit: page });
    for (const letter of letters) {
      last = letter.number;
      const manifest =
        source.mailstore.manifest(letter.message) ?? (await source.spool.manifest(letter.message));
      if (manifest)
        yield { manifest, position: String(letter.number), units: await deadUnits(source, letter, manifest) };
    }
    if (letters.length < page) return;
  }
}

/** Stored messages through one worker, in the order in which they came, behind the position `after`. */
export async function* storedItems(
  source: ReplaySource,
  query: MessageQuery,
  worker: Pick<Subscription, "worker" | "events" | "where">,
  force: boolean,
  after: string | undefined,
): AsyncGenerator<ReplayItem> {
  for (let last = after; ; ) {
    const selected = source.mailstore.select(query, last, page);
    for (const { id, position } of selected) {
      last = position;
      const manifest = source.mailstore.manifest(id);
      if (!manifest) continue;
      const units = wants(source, worker, manifest)
        ? await storedUnits(source, manifest, worker, query.target, force)
        : new Map();
      yield { manifest, position, units };
    }
    if (selected.length < page) return;
  }
}

async function storedUnits(
  source: ReplaySource,
  manifest: Manifest,
  worker: Pick<Subscription, "worker" | "events">,
  target: string | undefined,
  force: boolean,
): Promise<ReplayItem["units"]> {
  if (worker.worker !== deliver) return eventUnits(source, manifest, worker);
  return deliveryUnits(source, manifest, manifest.envelope.recipients, { force, target });
}

/** A worker gets by replay what it would have got when the message came. */
function wants(
  { mailstore }: ReplaySource,
  { where }: Pick<Subscription, "where">,
  manifest: Manifest,
): boolean {
  if (where === undefined) return true;
  return isWanted(where, manifest, needsParsed(where) ? mailstore.parsed(manifest.id) : undefined) === true;
}

/** The unit that became a dead letter, as it was at its end. */
async function deadUnits(
  source: ReplaySource,
  letter: DeadLetter,
  manifest: Manifest,
): Promise<ReplayItem["units"]> {
  const { message, worker, job, target } = letter;
  const ends = source.mailstore
    .journal(message)
    .filter(({ event, data }) => event === "job.dead" && data.job === job);
  const work = deadWork.safeParse(ends.at(-1)?.data.work);
  if (!work.success) return new Map();
  if (worker === deliver && target !== null) {
    const { targets } = targetsOf(source.routing, manifest.envelope, letter.recipients ?? []);
    if (!targets.some(({ id }) => id === target)) {
      return deliveryUnits(source, manifest, letter.recipients ?? [], { force: false, job });
    }
  }
  const { event, data, effects } = work.data;
  const unit: Unit = { v: 1, event, at: Date.now(), data, attempts: 0 };
  return new Map([[job, { unit, worker, job, target: target ?? undefined, effects }]]);
}

/**
 * One unit for each target that the routes of today have for these recipients, without those recipients that have
 * the message from that target, unless forced, and without targets that are being tried at this time. They carry the
 * edits of the header that the message was cleared with. None for a message that is held back, nor for one that was
 * never cleared where the configuration asks for that.
 */
export async function deliveryUnits(
  { mailstore, ledger, routing }: Pick<ReplaySource, "mailstore" | "ledger" | "routing">,
  { id, envelope }: Manifest,
  recipients: readonly string[],
  options: { force: boolean; target?: string | undefined; job?: string },
): Promise<ReplayItem["units"]> {
  const state = mailstore.summary(id)?.state;
  if (state === "quarantined" || state === "discarded") return new Map();
  const { cleared, header } = clearanceOf(mailstore.journal(id));
  if (routing.delivery?.after === "message.cleared" && !cleared) return new Map();
  const underWay = await targetsUnderWay(ledger, id);
  const done = mailstore.deliveries(id);
  const units = new Map<string, ReplayUnit>();
  for (const target of targetsOf(routing, envelope, recipients).targets) {
    const words = `${target.id} ${target.label}`.toLowerCase();
    if (options.target !== undefined && !words.includes(options.target.toLowerCase())) continue;
    if (underWay === "all" || underWay.has(target.id)) continue;
    const before = done.find((delivery) => delivery.target === target.id);
    const open = options.force
      ? target.recipients
      : target.recipients.filter((recipient) => before?.delivered.includes(recipient) !== true);
    if (open.length === 0) continue;
    const data = { target: target.id, label: target.label, recipients: open, ...(header ? { header } : {}) };
    const name = unitName(deliver, "delivery.requested", target.id);
    const unit: Unit = { v: 1, event: "delivery.requested", at: Date.now(), data, attempts: 0 };
    units.set(name, { unit, worker: deliver, job: options.job ?? name, target: target.id });
  }
  return units;
}

/** The targets that have a job at this time; "all" while their jobs are still to be made. */
async function targetsUnderWay(ledger: Pick<Ledger, "unitsOf">, id: MessageId): Promise<Set<string> | "all"> {
  const targets = new Set<string>();
  for (const [name, { dead, data }] of await ledger.unitsOf(id)) {
    if (dead || workerOf(name) !== deliver) continue;
    if (typeof data.target !== "string") return "all";
    targets.add(data.target);
  }
  return targets;
}

/** One unit for each event in the message's journal that the worker has subscribed to. */
function eventUnits(
  { mailstore }: ReplaySource,
  { id }: Manifest,
  { worker, events: names }: Pick<Subscription, "worker" | "events">,
): ReplayItem["units"] {
  const journal = mailstore.journal(id);
  const units = new Map<string, ReplayUnit>();
  for (const event of names) {
    const entries = journal.filter((entry) => entry.event === event);
    // Of the steps every message goes through there is one of each, whatever was replayed before.
    const single = event.startsWith("message.");
    for (const entry of single ? entries.slice(-1) : entries) {
      const name = single ? unitName(worker, event) : unitName(worker, event, entry.seq);
      const unit: Unit = { v: 1, event, at: Date.now(), data: dataOf(entry), attempts: 0 };
      units.set(name, { unit, worker, job: name });
    }
  }
  return units;
}

/** What the event carried: an entry of the journal may say more. */
function dataOf({ event, data }: JournalEntry): Record<string, unknown> {
  if (!(event in events)) return data;
  return events[event as EventName].parse(data);
}
