import { request as httpRequest, type IncomingMessage } from "node:http";
import { request as httpsRequest } from "node:https";
import type { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { type Envelope, TemporaryFailure, z } from "@millrace/pipeline";

/** The part of rspamd's answer that is used (rspamd protocol, /checkv2). */
const answerSchema = z.object({
  /** What it would have us do: "no action", "add header", "rewrite subject", "greylist", "soft reject", "reject". */
  action: z.string(),
  score: z.number(),
  required_score: z.number(),
  symbols: z.record(z.string(), z.object({ score: z.number() })).default({}),
});

/** What rspamd says of a message. */
export type SpamVerdict =
  | { result: "ham" | "spam"; action: string; score: number; required: number; symbols: string[] }
  | { result: "unscanned"; reason: string };

/** "greylist" and "soft reject" are for before the 250: what has been taken in is mail until something says it is spam. */
const spamActions: ReadonlySet<string> = new Set(["add header", "rewrite subject", "reject", "quarantine"]);
/** Symbols that are kept, those that weigh most first. */
const keptSymbols = 20;
/** Recipients it is told of. */
const toldRecipients = 100;
/** Octets of an answer that are read. */
const answerOctets = 1_048_576;

export interface SpamRequest {
  /** Where rspamd's normal worker listens: `http://127.0.0.1:11333`. */
  url: string;
  password?: string | undefined;
  id: string;
  envelope: Envelope;
  message: Readable;
  /** Octets of it. */
  size: number;
  signal: AbortSignal;
}

/**
 * Has rspamd look at a message as it streams by.
 * @throws TemporaryFailure that names rspamd and its address when it does not answer
 */
export async function scanForSpam(asked: SpamRequest): Promise<SpamVerdict> {
  try {
    const { status, body } = await exchange(asked);
    if (status === 413) return { result: "unscanned", reason: "rspamd: the message is too large" };
    if (status !== 200) throw new Error(`HTTP ${status}: ${body.slice(0, 200)}`);
    const { action, score, required_score, symbols } = answerSchema.parse(JSON.parse(body));
    const names = Object.entries(symbols).sort(([, a], [, b]) => Math.abs(b.score) - Math.abs(a.score));
    return {
      result: spamActions.has(action) ? "spam" : "ham",
      ...{ action, score, required: required_score },
      symbols: names.slice(0, keptSymbols).map(([name]) => name),
    };
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    throw new TemporaryFailure(`rspamd at ${asked.url} does not scan: ${message}`, {
      code: code ?? "RSPAMD",
      cause: error,
    });
  } finally {
    asked.message.destroy();
  }
}

async function exchange({ url, message, size, signal, ...asked }: SpamRequest) {
  const send = url.startsWith("https:") ? httpsRequest : httpRequest;
  const request = send(new URL("/checkv2", url), {
    method: "POST",
    signal,
    headers: { ...headersOf(asked), "content-type": "message/rfc822", "content-length": size },
  });
  const answered = new Promise<IncomingMessage>((resolve, reject) => {
    request.on("response", resolve);
    request.on("error", reject);
  });
  const sent = pipeline(message, request);
  // An answer may come before the message has gone out as a whole, as a refusal does.
  const answer = await Promise.race([answered, sent.then(() => answered)]);
  sent.catch(() => {});
  const pieces: Buffer[] = [];
  let octets = 0;
  for await (const piece of answer as AsyncIterable<Buffer>) {
    pieces.push(piece);
    octets += piece.length;
    if (octets > answerOctets) throw new Error(`its answer is longer than ${answerOctets} octets`);
  }
  return { status: answer.statusCode ?? 0, body: Buffer.concat(pieces).toString("utf8") };
}

/** What rspamd wants to know of the transaction. What HTTP cannot carry is left out. */
function headersOf({ id, envelope, password }: Pick<SpamRequest, "id" | "envelope" | "password">) {
  const plain = (text: string) => /^[\x21-\x7e]+$/.test(text);
  const field = (name: string, text: string | null | undefined) =>
    text && plain(text) ? { [name]: text } : {};
  const recipients = envelope.recipients.filter(plain).slice(0, toldRecipients);
  return {
    ...field("queue-id", id),
    ...field("from", envelope.from),
    ...(recipients.length > 0 ? { rcpt: recipients } : {}),
    ...field("ip", envelope.client.ip),
    ...field("helo", envelope.helo),
    ...field("user", envelope.user),
    ...field("password", password),
  };
}
