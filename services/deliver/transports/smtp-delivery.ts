import { isAscii } from "node:buffer";
import type { Readable } from "node:stream";
import { type DeliveryRequest, everyRecipient, type RecipientOutcome, type Transport } from "../transport.ts";
import { SessionError } from "./session-error.ts";
import { SessionPool } from "./session-pool.ts";
import type { SessionOptions } from "./session-socket.ts";
import { interrupted, StaleSession, type Transaction, transact } from "./smtp-transaction.ts";

/** Octets up to which a message is held in memory and sent in one piece. */
const wholeOctets = 262_144;
/** Recipients in one transaction: the least every server has to take (RFC 5321 §4.5.3.1.8). */
const recipientsAtOnce = 100;

/** Delivers over connections to one server, by SMTP or LMTP. */
export function mailTransport(options: SessionOptions): Transport {
  const pool = new SessionPool(options);
  return {
    async deliver(request) {
      const content = request.size <= wholeOctets ? await request.read() : request.raw;
      const outcomes: RecipientOutcome[] = [];
      for (let at = 0; at < request.recipients.length; at += recipientsAtOnce) {
        outcomes.push(
          ...(await attempt(pool, request.signal, {
            protocol: options.protocol,
            envelope: request.manifest.envelope,
            recipients: request.recipients.slice(at, at + recipientsAtOnce),
            size: Buffer.isBuffer(content) ? content.length : request.size,
            content,
            hasUtf8Header: () => hasUtf8Header(content),
          })),
        );
      }
      return outcomes;
    },
    async close() {
      pool.close();
    },
  };
}

async function attempt(
  pool: SessionPool,
  signal: DeliveryRequest["signal"],
  transaction: Transaction,
): Promise<RecipientOutcome[]> {
  for (let fresh = false; ; fresh = true) {
    try {
      const session = await pool.acquire(signal, fresh);
      const release = session.bindTo(signal);
      try {
        return await transact(session, transaction);
      } finally {
        release();
        pool.release(session);
      }
    } catch (error) {
      if (error instanceof StaleSession) continue;
      if (error instanceof SessionError) return everyRecipient(transaction.recipients, interrupted(error));
      throw error;
    }
  }
}

async function hasUtf8Header(content: Transaction["content"]): Promise<boolean> {
  if (Buffer.isBuffer(content)) return !isAscii(headerOf(content));
  const stream: Readable = await content();
  let start: Buffer = Buffer.alloc(0);
  for await (const piece of stream) {
    start = Buffer.concat([start, piece as Buffer]);
    if (start.includes("\r\n\r\n") || start.length > wholeOctets) break;
  }
  return !isAscii(headerOf(start));
}

function headerOf(message: Buffer): Buffer {
  const end = message.indexOf("\r\n\r\n");
  return end < 0 ? message : message.subarray(0, end);
}
