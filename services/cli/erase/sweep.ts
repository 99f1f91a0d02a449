import { setTimeout as sleep } from "node:timers/promises";
import type { MessageId, Person } from "@millrace/mail";
import type { Progress } from "@millrace/mailstore";
import {
  type PersonInFlight,
  personInFlight,
  removeMessage,
  stillInFlight,
} from "@millrace/pipeline/runtime";
import type { Writing } from "../writing.ts";
import type { Receipt, Scan } from "./receipt.ts";
import { rewriteRedisFiles } from "./redis-files.ts";

/** Messages removed in one transaction of the mail store. */
const batchSize = 50;
/** Journal entries archived in one transaction. */
const archivedAtOnce = 2_000;
/** Milliseconds by which an edge's clock may be behind. */
const clockSkew = 600_000;
/** How often everything is looked through, and the milliseconds between: what is on its way arrives meanwhile. */
const sweeps = 6;
const pause = 1_000;

/** What the store and Redis hold about a person. */
export interface Found {
  stored: MessageId[];
  inFlight: MessageId[];
  withOtherRecipients: Set<MessageId>;
  mentions: MessageId[];
}

export async function find(writing: Writing, person: Person, since = 0, progress?: Progress): Promise<Found> {
  const found: Found = { stored: [], inFlight: [], withOtherRecipients: new Set(), mentions: [] };
  const note = (list: MessageId[], id: MessageId, otherRecipients: number) => {
    list.push(id);
    if (otherRecipients > 0) found.withOtherRecipients.add(id);
  };
  // Redis first: what moves to the store in between is found there, and nothing moves back.
  for await (const { id, otherRecipients } of inFlightOf(writing, person).messages()) {
    note(found.inFlight, id, otherRecipients);
  }
  const stored = writing.mailstore.personalData().messages(person, since, progress);
  for await (const { id, concerned, otherRecipients } of stored) {
    if (concerned) note(found.stored, id, otherRecipients);
    else found.mentions.push(id);
  }
  return found;
}

/** Removes a person's mail, also what comes in meanwhile, and looks for what is left: several times, if need be. */
export async function erase(
  writing: Writing,
  person: Person,
  receipt: Receipt,
  progress: Progress,
): Promise<Scan> {
  const data = writing.mailstore.personalData();
  for (let sweep = 1, since = 0; ; sweep++) {
    const started = Date.now();
    await archiveJournal(writing);
    await remove(writing, await find(writing, person, since, progress), receipt);
    await archiveJournal(writing);
    receipt.addRedacted(await data.redact(person, progress));
    since = started - clockSkew;

    const keys = await redisKeys(writing, person);
    const fresh = await find(writing, person, since);
    const settled = keys.length + fresh.stored.length + fresh.inFlight.length === 0;
    if (!settled && sweep < sweeps) {
      await sleep(pause);
      continue;
    }
    await data.purge();
    const redisFiles = await rewriteRedisFiles(writing.redis);
    let traces = await data.traces(person, progress);
    if (traces.leftovers > 0) {
      await data.rewrite();
      traces = await data.traces(person, progress);
    }
    const { stored, mentions } = await find(writing, person, 0, progress);
    const left = { messages: stored, redisKeys: await redisKeys(writing, person), mentions, redisFiles };
    const scan: Scan = { ...traces, ...left };
    if (stored.length + scan.redisKeys.length + scan.records === 0 || sweep >= sweeps) return scan;
  }
}

async function remove(writing: Writing, found: Found, receipt: Receipt): Promise<void> {
  const { mailstore, redis } = writing;
  const inFlight = new Set(found.inFlight);
  const all = [...new Set([...found.inFlight, ...found.stored])];
  for (let at = 0; at < all.length; at += batchSize) {
    const batch = all.slice(at, at + batchSize);
    for (const id of batch) {
      receipt.ids.add(id);
      if (found.withOtherRecipients.has(id)) receipt.withOtherRecipients.add(id);
      for (const { state, label } of mailstore.deliveries(id)) {
        if (state === "delivered") receipt.deliveredTo.set(label, (receipt.deliveredTo.get(label) ?? 0) + 1);
      }
    }
    // The store first: from here on it takes nothing in about them, whatever a worker has in hand.
    receipt.addStored(await mailstore.remove(batch, "erasure"));
    const working = await stillInFlight(redis, batch);
    for (const id of batch) {
      if (inFlight.has(id) || working.has(id)) receipt.addInFlight(await removeMessage(writing, id));
    }
  }
}

/** What the journal in Redis has to say moves to the store, as it would anyway: there it can be redacted. */
async function archiveJournal({ mailstore, journal }: Writing): Promise<void> {
  for (;;) {
    const entries = await journal.after(mailstore.cursor(), archivedAtOnce);
    const last = entries.at(-1);
    if (!last) return;
    mailstore.archive(entries);
    await journal.trim(last.seq);
    if (entries.length < archivedAtOnce) return;
  }
}

async function redisKeys(writing: Writing, person: Person): Promise<string[]> {
  return Array.fromAsync(inFlightOf(writing, person).keys());
}

function inFlightOf(writing: Writing, person: Person): PersonInFlight {
  return personInFlight(writing, person, writing.config.settings.SMTP_DATA_TIMEOUT_SECONDS + 60);
}
