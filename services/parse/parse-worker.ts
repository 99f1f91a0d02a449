import type { Readable } from "node:stream";
import { parseHeaderOnly } from "@millrace/mime";
import { defineWorker, type WorkerContext, type WorkerDefinition } from "@millrace/pipeline";
import type { MemoryRoom } from "@millrace/pipeline/runtime";
import type { Spool } from "@millrace/spool";
import { ParserGaveUp, type ParseThreads } from "./parse-threads.ts";

/** Processes that may die over a message before the parser is not tried on it again: the last one had it alone. */
const crashesAllowed = 3;
/** Milliseconds a run may wait for a thread and for Redis, beside the time for parsing. */
const waitingAllowed = 300_000;
/** Octets of a message that the header is looked for in, once the parser has given up. */
const headOctets = 65_536;

/**
 * The worker that makes a parsed message out of a raw one. A message the parser cannot read goes on with what
 * can be read of its header, flagged: parsing never keeps mail from being stored and delivered.
 */
export function parseWorker(deps: {
  threads: ParseThreads;
  spool: Spool;
  /** Where a parsed message has to fit in, beside its body. */
  room: MemoryRoom;
  concurrency: number;
}): WorkerDefinition {
  const { threads, spool, room, concurrency } = deps;

  const goOnUnparsed = async (ctx: WorkerContext, reason: string): Promise<void> => {
    const parsed = parseHeaderOnly(await headOf(ctx.raw()), reason);
    await spool.putParsed(ctx.message, parsed);
    ctx.log.warn({ reason }, "unparsed");
    ctx.emit("message.parsed", { unparsed: true, defects: parsed.defects.map(({ code }) => code) });
  };

  const parse = async (ctx: WorkerContext): Promise<void> => {
    if (ctx.crashes >= crashesAllowed) {
      return goOnUnparsed(ctx, `crash: ${ctx.crashes} processes died with this message in hand`);
    }
    const { size, receivedFieldSize } = ctx.manifest;
    try {
      const defects = await threads.parse(ctx.message, size + receivedFieldSize, ctx.signal);
      ctx.emit("message.parsed", { unparsed: false, defects });
    } catch (error) {
      if (!(error instanceof ParserGaveUp)) throw error;
      await goOnUnparsed(ctx, error.message);
    }
  };

  return defineWorker({
    name: "parse",
    on: "message.received",
    concurrency,
    timeout: threads.timeout + waitingAllowed,
    // What is tried again is trouble with Redis or with threads, never the message: there is no last attempt, and
    // after `crashesAllowed` no crash that could be its doing. A dead letter here would keep mail from its way.
    retry: { attempts: Number.MAX_SAFE_INTEGER, firstDelay: 500, maxDelay: 60_000 },
    maxCrashes: Number.MAX_SAFE_INTEGER,
    async handle(_event, ctx) {
      // A parsed message is about as large as its body at most, and is in Redis twice while it is written.
      const release = await room.take(2 * ctx.manifest.size, ctx.signal);
      try {
        await parse(ctx);
      } finally {
        release();
      }
    },
  });
}

/** The beginning of a message; the rest is not read. */
async function headOf(raw: Readable): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let octets = 0;
  for await (const chunk of raw.iterator({ destroyOnReturn: false })) {
    chunks.push(chunk);
    octets += chunk.length;
    if (octets >= headOctets) break;
  }
  raw.destroy();
  return Buffer.concat(chunks);
}
