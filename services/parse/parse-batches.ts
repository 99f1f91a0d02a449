import type { MessageId } from "@millrace/mail";
import { clockStarted, cutBatch, messageInHand, newParseClock, timeUsed } from "./parse-clock.ts";
import type { ParseBatch, ParseOutcome } from "./parse-thread.ts";

/** Messages, and octets, that one thread is given together. */
const mostMessages = 16;
const mostOctets = 262_144;
/** Milliseconds one message may hold up those of its batch. */
const patience = 250;

/** Why there is no outcome: the message took too long, or the thread that had it died. */
export type ParseEnd =
  | { is: "overdue" }
  /** `begun`: the thread had got to the message. */
  | { is: "died"; begun: boolean; error: Error & { code?: string } };

interface Waiting {
  readonly id: MessageId;
  /** Undefined for a large message, which is streamed from the spool. */
  readonly body: Buffer | undefined;
  /** It was in the hands of a thread that died: whether it is to blame shows when it has a thread to itself. */
  suspect: boolean;
  /** The batch it is in at this time. */
  batch: Batch | undefined;
  resolve(outcome: ParseOutcome | ParseEnd): void;
}

interface Batch {
  /** Those it still answers for. */
  readonly left: Set<Waiting>;
  /** Ends its thread. */
  readonly ending: AbortController;
}

/**
 * Hands messages to threads, small ones in batches: passing one to a thread and its result back costs more than
 * parsing it. Each has its own time all the same, and whoever hangs or dies does so alone: those in a batch with a
 * slow message are given to another thread, and after a thread's death each message it had is tried by itself.
 *
 * @param threads batches under way at a time
 * @param timeout milliseconds one message may take
 * @param run parses a batch in a thread, which the signal ends
 * @returns a function for one message; it rejects with the reason of its signal
 */
export function parseBatches(
  threads: number,
  timeout: number,
  run: (batch: ParseBatch, signal: AbortSignal) => Promise<ParseOutcome[]>,
): (id: MessageId, body: Buffer | undefined, signal?: AbortSignal) => Promise<ParseOutcome | ParseEnd> {
  const queue: Waiting[] = [];
  let running = 0;

  const startNext = (): void => {
    while (running < threads && queue.length > 0) {
      // Every free thread gets its share.
      const share = Math.min(mostMessages, Math.ceil(queue.length / (threads - running)));
      running++;
      void parseTogether(queue.splice(0, batchLength(queue, share))).finally(() => {
        running--;
        startNext();
      });
    }
  };

  const parseTogether = async (members: readonly Waiting[]): Promise<void> => {
    const clock = newParseClock();
    const batch: Batch = { left: new Set(members), ending: new AbortController() };
    for (const each of members) each.batch = batch;
    const giveBack = (those: readonly Waiting[]) => {
      for (const each of those) {
        each.batch = undefined;
        batch.left.delete(each);
      }
      queue.unshift(...those);
    };

    const check = () => {
      const inHand = members[messageInHand(clock)] as Waiting;
      const used = timeUsed(clock);
      if (used >= Math.min(patience, timeout) && batch.left.size > 1) {
        cutBatch(clock);
        giveBack([...batch.left].filter((each) => each !== inHand));
        startNext();
      }
      if (used < timeout) {
        timer = setTimeout(
          check,
          Math.max(5, Math.min(batch.left.size > 1 ? patience : timeout, timeout) - used),
        );
        return;
      }
      if (batch.left.has(inHand)) inHand.resolve({ is: "overdue" });
      batch.left.delete(inHand);
      batch.ending.abort();
    };
    let timer = setTimeout(check, Math.min(members.length > 1 ? patience : timeout, timeout));

    try {
      const tasks = members.map(({ id, body }) => ({ id, octets: body?.length }));
      const outcomes = await run({ tasks, bodies: inOnePiece(members), clock }, batch.ending.signal);
      for (const [index, outcome] of outcomes.entries()) {
        const each = members[index] as Waiting;
        if (batch.left.delete(each)) each.resolve(outcome);
      }
      giveBack([...batch.left]);
    } catch (error) {
      if (members.length > 1) {
        for (const each of batch.left) each.suspect = true;
        giveBack([...batch.left]);
      }
      for (const only of batch.left) {
        only.resolve({ is: "died", begun: clockStarted(clock), error: error as Error });
      }
    } finally {
      clearTimeout(timer);
    }
  };

  return async (id, body, signal) => {
    const { promise, resolve, reject } = Promise.withResolvers<ParseOutcome | ParseEnd>();
    const each: Waiting = { id, body, suspect: false, batch: undefined, resolve };
    const leave = () => {
      const place = queue.indexOf(each);
      if (place >= 0) queue.splice(place, 1);
      else if (each.batch?.left.delete(each) && each.batch.left.size === 0) each.batch.ending.abort();
      reject(signal?.reason);
    };
    signal?.addEventListener("abort", leave);
    queue.push(each);
    startNext();
    try {
      return await promise;
    } finally {
      signal?.removeEventListener("abort", leave);
    }
  };
}

/** How many of the first ones in a queue go together. */
function batchLength(queue: readonly Waiting[], most: number): number {
  let octets = 0;
  for (let length = 0; length < most; length++) {
    const { body, suspect } = queue[length] as Waiting;
    octets += body?.length ?? 0;
    if (!body || suspect || octets > mostOctets) return Math.max(1, length);
  }
  return most;
}

/** In a memory of its own: what is passed on of a slice is all of the memory it is a slice of. */
function inOnePiece(members: readonly Waiting[]): Uint8Array {
  const bodies = members.map(({ body }) => body ?? new Uint8Array());
  const all = new Uint8Array(bodies.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const body of bodies) {
    all.set(body, at);
    at += body.length;
  }
  return all;
}
