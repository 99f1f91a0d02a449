import type { MessageId } from "@millrace/mail";
import { addRemoved, nothingRemoved, type Redacted, type Removed } from "@millrace/mailstore";
import type { RemovedInFlight } from "@millrace/pipeline/runtime";
import { colour, octets, table } from "../terminal.ts";

/** What an erasure has taken away. */
export class Receipt {
  readonly ids = new Set<MessageId>();
  /** Messages that went although they had other recipients, too: their octets carry the address. */
  readonly withOtherRecipients = new Set<MessageId>();
  store: Removed = { ...nothingRemoved };
  readonly inFlight = { bodies: 0, parsed: 0, units: 0, jobs: 0, journalEntries: 0 };
  /** Jobs that ran while their message was taken away. */
  running = 0;
  readonly redacted: Redacted = { journalEntries: 0, deliveries: 0, deadLetters: 0 };
  /** Deliveries made before, by target: these copies are the destinations' own. */
  readonly deliveredTo = new Map<string, number>();

  addStored(removed: Removed): void {
    this.store = addRemoved(this.store, removed);
  }

  addInFlight(removed: RemovedInFlight): void {
    const { inFlight } = this;
    inFlight.bodies += Number(removed.body);
    inFlight.parsed += Number(removed.parsed);
    inFlight.units += removed.units;
    inFlight.jobs += removed.jobs;
    inFlight.journalEntries += removed.journalEntries;
    this.running += removed.running;
  }

  addRedacted(redacted: Redacted): void {
    this.redacted.journalEntries += redacted.journalEntries;
    this.redacted.deliveries += redacted.deliveries;
    this.redacted.deadLetters += redacted.deadLetters;
  }

  json() {
    return {
      messages: [...this.ids],
      withOtherRecipients: [...this.withOtherRecipients],
      store: this.store,
      inFlight: this.inFlight,
      redacted: this.redacted,
      runningJobs: this.running,
      deliveredTo: Object.fromEntries(this.deliveredTo),
    };
  }
}

/** What is left after an erasure, and where. */
export interface Scan {
  /** Stored messages from or for the address. */
  messages: MessageId[];
  /** Keys in Redis with the address. */
  redisKeys: string[];
  /** Journal entries, deliveries and dead letters of other messages that mention it. */
  records: number;
  /** Places in the index's files that no row accounts for. */
  leftovers: number;
  files: { name: string; octets: number }[];
  /** Why Redis's files may still hold it. */
  redisFiles: string | undefined;
  /** Stored messages that only mention the address. */
  mentions: MessageId[];
}

export function isClean(scan: Scan): boolean {
  return (
    scan.messages.length + scan.redisKeys.length + scan.records + scan.leftovers === 0 &&
    scan.redisFiles === undefined
  );
}

export function renderReceipt(receipt: Receipt): string {
  const { ids, store, inFlight, redacted, running, deliveredTo, withOtherRecipients } = receipt;
  let out = `${colour.dim("receipt")}\n`;
  out += table(
    ["place", "count", "what went"],
    [
      ["all", ids.size, `messages, ${withOtherRecipients.size} of them with other recipients, too`],
      ["blobs", store.blobs, `raw messages, ${octets(store.octets)}`],
      ["index", store.blobs, "parsed messages, with the words they were found by"],
      ["index", store.journalEntries, "journal entries"],
      ["index", store.deliveries, "deliveries"],
      ["index", store.deadLetters, "dead letters"],
      ["spool", inFlight.bodies, "raw messages in flight"],
      ["spool", inFlight.parsed, "parsed messages in flight"],
      ["queues", inFlight.units, `units of work, ${inFlight.jobs} jobs`],
      ["redis", inFlight.journalEntries, "journal entries not archived yet"],
      ["others", redacted.journalEntries, "journal entries of other messages: address replaced by `erased`"],
      ["others", redacted.deliveries + redacted.deadLetters, "deliveries and dead letters: the same"],
    ].map((row) => row.map(String)),
  );
  if (running > 0) {
    out += `\n${running} jobs were running at that instant: a delivery among them may still arrive.\n`;
  }
  if (deliveredTo.size > 0) {
    out += "\nDeliveries made before are not taken back; these copies are the destinations' own:\n";
    for (const [label, count] of deliveredTo) out += `  ${count}  ${label}\n`;
  }
  return `${out}\nNot ours to erase: log files, backups, and what the disk keeps of freed blocks.\n`;
}

export function renderScan(scan: Scan, withMentions: boolean): string {
  const files = scan.files.map((file) => `${file.name} (${octets(file.octets)})`).join(", ");
  let out = `\n${colour.dim("scan")} of all stored messages, of Redis, and of every octet of ${files}\n`;
  const line = (text: string) => {
    out += `${colour.red("left")}  ${text}\n`;
  };
  for (const id of scan.messages) line(`message ${id} in the mail store: run this again`);
  for (const key of scan.redisKeys) line(`${key} in Redis: run this again once what writes it is done`);
  if (scan.records > 0) line(`${scan.records} records of other messages: run this again`);
  if (scan.leftovers > 0) {
    line(`${scan.leftovers} places in the index's files: stop what reads or writes it, and run this again`);
  }
  if (scan.redisFiles) line(scan.redisFiles);
  if (isClean(scan)) out += `${colour.green("none left")}\n`;
  if (withMentions) {
    out += `\n${scan.mentions.length} messages of others mention the address in their text and stay\n`;
    for (const id of scan.mentions) out += `  ${id}\n`;
  } else if (scan.mentions.length > 0) {
    out += `${scan.mentions.length} messages of others mention the address in their text and stay; --scan-bodies lists them\n`;
  }
  return out;
}
