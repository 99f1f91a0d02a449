import { Readable } from "node:stream";
import { workerData } from "node:worker_threads";
import type { DefectCode, MessageId } from "@millrace/mail";
import { type ParseLimits, parseMessage } from "@millrace/mime";
import { patientRedis } from "@millrace/service";
import { NotSpooled, redisSpool } from "@millrace/spool";
import { isCut, offTheClock, type ParseClock, startClock } from "./parse-clock.ts";

/** What every thread is started with. */
export interface ThreadData {
  redisUrl: string;
  limits: ParseLimits;
}

/** One message of a batch. */
export interface ParseTask {
  id: MessageId;
  /** Octets of its body, when it is small; a large one is streamed from the spool, and the result put there. */
  octets: number | undefined;
}

/** Messages a thread is given together: small ones, or a single large one. */
export interface ParseBatch {
  tasks: readonly ParseTask[];
  /** The bodies of the small ones, one behind the other. */
  bodies: Uint8Array;
  clock: ParseClock;
}

/** Errors lose their class between threads, so the ends that are expected are values. */
export type ParseOutcome =
  | {
      is: "parsed";
      defects: DefectCode[] /** The parsed message, unless it is in the spool already. */;
      json?: string;
    }
  | { is: "failed"; reason: string }
  | { is: "not-spooled" }
  | { is: "spool-trouble"; reason: string };

const { redisUrl, limits } = workerData as ThreadData;
const spool = redisSpool(patientRedis(redisUrl));

/** Something went wrong with the spool, not with the message. */
class SpoolTrouble extends Error {}

/** Parses a batch. Runs in a thread of its own; never throws. */
export default function parseInThread(batch: ParseBatch): Promise<ParseOutcome[]> {
  return parseEach(batch, parseOne);
}

/**
 * One message after the other.
 * @returns the outcomes in the order of the tasks; fewer when the batch was cut
 */
export async function parseEach(
  { tasks, bodies, clock }: ParseBatch,
  parse: typeof parseOne,
): Promise<ParseOutcome[]> {
  const outcomes: ParseOutcome[] = [];
  let at = 0;
  for (const [index, { id, octets }] of tasks.entries()) {
    if (isCut(clock)) break;
    startClock(clock, index);
    // Crossing between threads makes a plain array of a Buffer.
    const body =
      octets === undefined ? undefined : Buffer.from(bodies.buffer, bodies.byteOffset + at, octets);
    at += octets ?? 0;
    outcomes.push(await parse(id, body, clock));
  }
  return outcomes;
}

export function parseOne(id: MessageId, body: Buffer | undefined, clock: ParseClock): Promise<ParseOutcome> {
  return body ? parseSmall(body) : parseLarge(id, clock);
}

async function parseSmall(body: Buffer): Promise<ParseOutcome> {
  try {
    const parsed = await parseMessage(body, limits);
    return { is: "parsed", defects: parsed.defects.map(({ code }) => code), json: JSON.stringify(parsed) };
  } catch (error) {
    return { is: "failed", reason: reasonOf(error) };
  }
}

async function parseLarge(id: MessageId, clock: ParseClock): Promise<ParseOutcome> {
  const fromSpool = async <T>(step: () => Promise<T>): Promise<T> => {
    try {
      return await offTheClock(clock, step);
    } catch (cause) {
      throw new SpoolTrouble("", { cause });
    }
  };
  async function* chunks(): AsyncGenerator<Buffer> {
    const body = spool.open(id)[Symbol.asyncIterator]();
    for (;;) {
      const { done, value } = await fromSpool(() => body.next());
      if (done) return;
      yield value as Buffer;
    }
  }
  try {
    const parsed = await parseMessage(Readable.from(chunks(), { objectMode: false }), limits);
    await fromSpool(() => spool.putParsed(id, parsed));
    return { is: "parsed", defects: parsed.defects.map(({ code }) => code) };
  } catch (error) {
    if (!(error instanceof SpoolTrouble)) return { is: "failed", reason: reasonOf(error) };
    if (error.cause instanceof NotSpooled) return { is: "not-spooled" };
    return { is: "spool-trouble", reason: reasonOf(error.cause) };
  }
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
