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
  /** The body, when it is small; a large one is streamed from the spool, and the result put there. */
  raw: Uint8Array | undefined;
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

/** Parses one message. Runs in a thread of its own; never throws. */
export default async function parseInThread({ id, raw, clock }: ParseTask): Promise<ParseOutcome> {
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
    const source = raw ? bufferOf(raw) : Readable.from(chunks(), { objectMode: false });
    const parsed = await parseMessage(source, limits);
    const defects = parsed.defects.map(({ code }) => code);
    if (raw) return { is: "parsed", defects, json: JSON.stringify(parsed) };
    await fromSpool(() => spool.putParsed(id, parsed));
    return { is: "parsed", defects };
  } catch (error) {
    if (!(error instanceof SpoolTrouble)) return { is: "failed", reason: reasonOf(error) };
    if (error.cause instanceof NotSpooled) return { is: "not-spooled" };
    return { is: "spool-trouble", reason: reasonOf(error.cause) };
  }
}

/** Crossing between threads makes a plain array of a Buffer. */
function bufferOf({ buffer, byteOffset, byteLength }: Uint8Array): Buffer {
  return Buffer.from(buffer, byteOffset, byteLength);
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
