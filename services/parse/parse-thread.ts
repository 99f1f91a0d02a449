import { Readable } from "node:stream";
import { workerData } from "node:worker_threads";
import type { DefectCode, MessageId } from "@millrace/mail";
import { type ParseLimits, parseMessage } from "@millrace/mime";
import { patientRedis } from "@millrace/service";
import { NotSpooled, redisSpool } from "@millrace/spool";
import { offTheClock, type ParseClock, startClock } from "./parse-clock.ts";

/** What every thread is started with. */
export interface ThreadData {
  redisUrl: string;
  limits: ParseLimits;
}

export interface ParseTask {
  id: MessageId;
  /** Octets of the body in the spool. */
  size: number;
  clock: ParseClock;
}

/** Errors lose their class between threads, so the ends that are expected are values. */
export type ParseOutcome =
  | { is: "parsed"; defects: DefectCode[] }
  | { is: "failed"; reason: string }
  | { is: "not-spooled" }
  | { is: "spool-trouble"; reason: string };

/** Octets up to which a body is fetched in one piece. */
const onePiece = 1_048_576;

const { redisUrl, limits } = workerData as ThreadData;
const spool = redisSpool(patientRedis(redisUrl));

/** Something went wrong with the spool, not with the message. */
class SpoolTrouble extends Error {}

/**
 * Parses a message of the spool and puts the result there: neither crosses over to another thread.
 * Runs in a thread of its own; never throws.
 */
export default async function parseInThread({ id, size, clock }: ParseTask): Promise<ParseOutcome> {
  startClock(clock);
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
    const raw =
      size <= onePiece
        ? await fromSpool(() => spool.read(id))
        : Readable.from(chunks(), { objectMode: false });
    const parsed = await parseMessage(raw, limits);
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
