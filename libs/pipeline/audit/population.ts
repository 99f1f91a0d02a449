import type { MessageId, MessageState } from "@millrace/mail";
import type { MailStore, StoreSnapshot } from "@millrace/mailstore";
import type { Pipeline } from "../open-pipeline.ts";
import { type InFlightCounts, type TerminalState, terminalStates } from "./report.ts";

/** Messages read at once. */
const page = 10_000;

/** The messages an audit is about: all that were accepted up to one instant, each of them looked up once. */
export interface Population {
  accepted: number;
  terminal: Map<TerminalState, number>;
  inFlight: InFlightCounts;
  /** Every message in flight, later ones too, with the milliseconds of its acceptance. */
  open: Map<MessageId, number>;
  /** Accepted, and by this look neither in flight nor at an end: to be looked at again, one by one. */
  suspects: Set<MessageId>;
  /** In flight by this look, with no acceptance in it: accepted since, or never. */
  strangers: MessageId[];
}

/**
 * Looks at journal, mail store and ledger in the order in which a message goes through them backwards: whoever was
 * accepted before the first look is in the second or the third. Only those between two looks are suspects.
 */
export async function takePopulation(
  pipeline: Pick<Pipeline, "journal" | "ledger">,
  mailstore: Pick<MailStore, "cursor">,
  snapshot: () => StoreSnapshot,
): Promise<{ population: Population; store: StoreSnapshot }> {
  const arriving = await arrivals(pipeline, mailstore.cursor());
  const store = snapshot();
  const open = await openMessages(pipeline);
  for (const id of arriving) if (store.hasArrived(id)) arriving.delete(id);

  const population: Population = {
    accepted: store.accepted + arriving.size,
    terminal: new Map(),
    inFlight: { received: 0, stored: 0, deferred: 0, other: 0 },
    open,
    suspects: new Set(),
    strangers: [],
  };
  const { inFlight, suspects } = population;
  const openIn = new Map<MessageState, number>();
  for (const id of open.keys()) {
    const state = store.stateOf(id);
    if (state !== undefined) openIn.set(state, (openIn.get(state) ?? 0) + 1);
    if (!store.hasArrived(id) && !arriving.has(id)) population.strangers.push(id);
    else if (state === undefined) inFlight.received++;
    else if (state === "stored" || state === "deferred") inFlight[state]++;
    else inFlight.other++;
  }
  for (const [state, count] of Object.entries(store.counts) as [MessageState, number][]) {
    if (terminalStates.has(state)) population.terminal.set(state, count - (openIn.get(state) ?? 0));
  }
  for (const ids of [store.notStored(), store.unfinished(), arriving]) {
    for (const id of ids) {
      const ended = terminalStates.has(store.stateOf(id) ?? "received");
      if (!open.has(id) && !ended) suspects.add(id);
    }
  }
  return { population, store };
}

/** Messages accepted according to that part of the journal which was not in the store at `after`. */
export async function arrivals(
  { journal }: Pick<Pipeline, "journal">,
  after: string,
): Promise<Set<MessageId>> {
  const ids = new Set<MessageId>();
  for await (const { event, message } of journal.since(after)) {
    if (event === "message.received") ids.add(message);
  }
  return ids;
}

async function openMessages({ ledger }: Pick<Pipeline, "ledger">): Promise<Map<MessageId, number>> {
  const open = new Map<MessageId, number>();
  for (let offset = 0; ; ) {
    const messages = await ledger.open(offset, page);
    for (const { id, at } of messages) open.set(id, at);
    if (messages.length < page) return open;
    // Messages end while this goes on, and those behind them move up: the overlap reads some twice, and skips none.
    offset += page / 2;
  }
}
