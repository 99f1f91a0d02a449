import { extname } from "node:path";
import { type DefectCode, type MessageId, TemporaryFailure } from "@millrace/mail";
import type { ParseLimits } from "@millrace/mime";
import { NotSpooled, type Spool } from "@millrace/spool";
import { Piscina } from "piscina";
import { parseBatches } from "./parse-batches.ts";
import type { ParseBatch, ParseOutcome, ThreadData } from "./parse-thread.ts";

/** The parser could not do it, and would not the next time: in time, in memory, or at all. */
export class ParserGaveUp extends Error {
  override name = "ParserGaveUp";
}

export interface ParseThreads {
  /** Milliseconds one message may take. */
  readonly timeout: number;
  /**
   * Parses a message of the spool in a thread and puts the result into the spool. A thread that runs out of time
   * or memory is ended and replaced; the others go on.
   *
   * @param size octets of the body
   * @param signal ends the thread that has the message
   * @returns the codes of the defects found
   * @throws ParserGaveUp; NotSpooled; the signal's reason; else what is worth another try
   */
  parse(id: MessageId, size: number, signal?: AbortSignal): Promise<DefectCode[]>;
  /** Ends all threads. What they had under way is lost and fails as worth another try. */
  close(): Promise<void>;
}

export interface ThreadOptions {
  redisUrl: string;
  /** The spool of this process, for small bodies; threads open one of their own for large ones. */
  spool: Spool;
  /** Threads, each with one message in hand at a time. */
  threads: number;
  /** Milliseconds one message may take; waiting for a thread or for Redis does not count. */
  timeout: number;
  /** Heap of one thread, in MiB. */
  heapMb: number;
  limits: ParseLimits;
  /** Another file to run in the threads. */
  file?: URL;
}

/**
 * Octets up to which a body is read, and its parsed message written, by this thread: while one message is parsed
 * the next are on their way, and no parser thread ever waits for Redis.
 */
const inOnePiece = 262_144;

/** TypeScript in a workspace, JavaScript in an installation: as this file is. */
const threadFile = new URL(`./parse-thread${extname(import.meta.url)}`, import.meta.url);

export function openParseThreads(options: ThreadOptions): ParseThreads {
  const { redisUrl, spool, threads, timeout, heapMb, limits } = options;
  const pool = new Piscina<ParseBatch, ParseOutcome[]>({
    filename: (options.file ?? threadFile).href,
    minThreads: threads,
    maxThreads: threads,
    idleTimeout: Number.POSITIVE_INFINITY,
    // A thread that sleeps on an atomic does not hear from its Redis connection.
    atomics: "disabled",
    recordTiming: false,
    resourceLimits: { maxOldGenerationSizeMb: heapMb },
    workerData: { redisUrl, limits } satisfies ThreadData,
  });
  // A thread that dies without a task is replaced when the next one comes.
  pool.on("error", () => {});
  let closed = false;

  const parseInThread = parseBatches(threads, timeout, async (batch, signal) => {
    // The pool would start new threads even now.
    if (closed) throw new Error("they are closed");
    return pool.run(batch, { signal });
  });

  const fromSpool = async <T>(step: () => Promise<T>): Promise<T> => {
    try {
      return await step();
    } catch (cause) {
      if (cause instanceof NotSpooled) throw cause;
      throw new TemporaryFailure(`spool: ${(cause as Error).message}`, { cause });
    }
  };

  return {
    timeout,

    async parse(id, size, signal) {
      signal?.throwIfAborted();
      if (closed) throw new TemporaryFailure("no parser thread: they are closed");
      const body = size <= inOnePiece ? await fromSpool(() => spool.read(id)) : undefined;
      signal?.throwIfAborted();
      const outcome = await parseInThread(id, body, signal);
      switch (outcome.is) {
        case "parsed": {
          const { json } = outcome;
          if (json !== undefined) await fromSpool(() => spool.putParsed(id, json));
          return outcome.defects;
        }
        case "failed":
          throw new ParserGaveUp(`error: ${outcome.reason}`);
        case "not-spooled":
          throw new NotSpooled(id);
        case "spool-trouble":
          throw new TemporaryFailure(`spool: ${outcome.reason}`);
        case "overdue":
          throw new ParserGaveUp(`time: more than ${timeout / 1_000} s`);
        case "died": {
          const { code, message } = outcome.error;
          // Not a word about the message when the thread never got to it, or was ended for another reason.
          if (closed || !outcome.begun) throw new TemporaryFailure(`no parser thread: ${message}`);
          if (code === "ERR_WORKER_OUT_OF_MEMORY") throw new ParserGaveUp(`memory: more than ${heapMb} MiB`);
          throw new ParserGaveUp(`crash: ${message}`);
        }
      }
    },

    async close() {
      closed = true;
      await pool.destroy();
    },
  };
}
