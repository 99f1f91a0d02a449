import { isAscii } from "node:buffer";
import type { Readable } from "node:stream";
import type { Envelope } from "@millrace/mail";
import type { RecipientOutcome } from "../transport.ts";
import { DotStuffer } from "./dot-stuffing.ts";
import { SessionError } from "./session-error.ts";
import { type Reply, replyStatus, replyText } from "./smtp-reply.ts";
import { type SmtpSession, timeouts } from "./smtp-session.ts";

/** What one transaction sends. */
export interface Transaction {
  protocol: "smtp" | "lmtp";
  envelope: Pick<Envelope, "from" | "smtputf8" | "body">;
  recipients: readonly string[];
  /** Octets of the message. */
  size: number;
  /** The message: small ones as octets, large ones as a stream that is opened once the server wants it. */
  content: Buffer | (() => Promise<Readable>);
  /** Whether the header holds octets outside ASCII: asked only of a server without SMTPUTF8. */
  hasUtf8Header(): Promise<boolean>;
}

/** A kept connection turned out to be dead before it took anything in: the transaction may go over another. */
export class StaleSession extends Error {
  override name = "StaleSession";
}

type Outcome = Omit<RecipientOutcome, "recipient">;

/**
 * Sends one message over a session: MAIL, RCPT, DATA, the message. One outcome for each recipient, in their order.
 * Where the connection breaks, those who had their answer keep it and the rest is deferred. A message whose last
 * reply was lost is so sent a second time: that is the price of never losing one (RFC 1047).
 * @throws StaleSession when a session used before breaks and nothing has happened yet
 * @throws what reading the message throws; the session is broken off then, so that no part passes for the whole
 */
export async function transact(session: SmtpSession, transaction: Transaction): Promise<RecipientOutcome[]> {
  const { recipients } = transaction;
  const outcomes: (Outcome | undefined)[] = recipients.map((recipient) => unsendable(session, recipient));
  const settle = (indices: readonly number[], outcome: Outcome) => {
    for (const index of indices) outcomes[index] ??= outcome;
  };
  const open = recipients.map((_, index) => index).filter((index) => !outcomes[index]);
  const used = session.transactions++ > 0;
  const repliesBefore = session.replies;
  try {
    if (open.length > 0) await send(session, transaction, open, settle, used);
  } catch (error) {
    if (!(error instanceof SessionError)) {
      session.destroy();
      throw error;
    }
    if (used && session.replies === repliesBefore && error.code !== "ABORTED")
      throw new StaleSession(error.message, { cause: error });
    settle(open, interrupted(error));
  }
  return recipients.map((recipient, index) => ({ recipient, ...(outcomes[index] as Outcome) }));
}

/** The outcome of those whom the end of a connection left without an answer. */
export function interrupted(error: SessionError): Outcome {
  return { result: "deferred", reply: error.message, code: error.code };
}

async function send(
  session: SmtpSession,
  transaction: Transaction,
  open: readonly number[],
  settle: (indices: readonly number[], outcome: Outcome) => void,
  used: boolean,
): Promise<void> {
  const refusal = await unsendableMessage(session, transaction);
  if (refusal) return settle(open, refusal);

  const mail = `MAIL FROM:<${transaction.envelope.from}>${mailParameters(session, transaction)}`;
  const rcpts = open.map((index) => `RCPT TO:<${transaction.recipients[index]}>`);
  const pipelining = session.extensions.has("PIPELINING");
  const next = dialogue(session, [...(session.dirty ? ["RSET"] : []), mail, ...rcpts, "DATA"], pipelining);

  if (session.dirty && (await next()).code !== 250) throw new StaleSession("RSET was refused");
  // Until the message has its answer, whatever stops us leaves a transaction open.
  session.dirty = true;
  const mailReply = await next();
  if (mailReply.code === 421 && used) throw new StaleSession(replyText(mailReply));
  if (mailReply.code < 400 && !isPositive(mailReply)) throw outOfStep(session, mailReply);
  const accepted: number[] = [];
  if (!isPositive(mailReply)) settle(open, outcomeOf(mailReply));
  // Sent together, all have an answer coming; one by one, there is no point in going on.
  if (isPositive(mailReply) || pipelining) {
    for (const index of open) {
      const reply = await next();
      if (reply.code < 400 && !isPositive(reply)) throw outOfStep(session, reply);
      if (isPositive(reply) && isPositive(mailReply)) accepted.push(index);
      else settle([index], outcomeOf(reply));
    }
  }
  if (accepted.length === 0 && !pipelining) return;
  const data = await next();
  if (accepted.length === 0) {
    // The server takes a message for nobody. There is no way back from here but the end (RFC 2920 §3.1).
    if (data.code === 354) session.destroy();
    return;
  }
  if (data.code < 400 && data.code !== 354) throw outOfStep(session, data);
  if (data.code !== 354) return settle(accepted, outcomeOf(data));

  // LMTP answers for each recipient by itself (RFC 2033 §4.2), SMTP once for all.
  const groups = transaction.protocol === "lmtp" ? accepted.map((index) => [index]) : [accepted];
  await sendContent(session, transaction.content, groups.length, (place, reply) =>
    settle(groups[place] as number[], outcomeOf(reply)),
  );
  session.dirty = false;
}

/** A reply that cannot belong to the command: from here on nobody knows which reply is whose. */
function outOfStep(session: SmtpSession, reply: Reply): SessionError {
  const error = new SessionError(`the server answers out of step: ${replyText(reply)}`, "PROTOCOL");
  session.fail(error);
  return error;
}

/** Gives the reply to each of the commands in turn: all sent in one go (RFC 2920), or each when its turn comes. */
function dialogue(session: SmtpSession, commands: string[], pipelining: boolean): () => Promise<Reply> {
  let at = 0;
  if (!pipelining) return () => session.command(commands[at++] as string);
  const replies = commands.map(() => session.reply());
  for (const reply of replies) reply.catch(() => {});
  session.write(`${commands.join("\r\n")}\r\n`).catch(() => {});
  return () => replies[at++] as Promise<Reply>;
}

async function sendContent(
  session: SmtpSession,
  content: Transaction["content"],
  answers: number,
  onAnswer: (place: number, reply: Reply) => void,
): Promise<void> {
  let sent = false;
  let answered = false;
  const replies = Array.from({ length: answers }, () => session.reply());
  for (const reply of replies) reply.catch(() => {});
  const settled = (async () => {
    for (const [place, reply] of replies.entries()) {
      const answer = await reply;
      answered = true;
      // A refusal may come early; a thank-you for half a message is none.
      if (!sent && answer.code < 400)
        throw new SessionError(`answered before it had the message: ${replyText(answer)}`, "PROTOCOL");
      onAnswer(place, answer);
    }
  })();
  settled.catch(() => {});

  const stuffer = new DotStuffer();
  if (Buffer.isBuffer(content)) {
    session.patience(timeouts.dataEnd);
    sent = true;
    await session.write(Buffer.concat([stuffer.stuff(content), stuffer.end()]));
  } else {
    session.patience(timeouts.dataBlock);
    for await (const piece of await content()) {
      if (answered) break;
      await session.write(stuffer.stuff(piece as Buffer));
    }
    if (answered) {
      await settled.finally(() => session.destroy());
      return;
    }
    sent = true;
    session.patience(timeouts.dataEnd);
    await session.write(stuffer.end());
  }
  await settled;
  session.patience(timeouts.command);
}

/** Parameters of MAIL: SIZE (RFC 1870), SMTPUTF8 (RFC 6531), BODY (RFC 6152), each if the server knows it. */
function mailParameters(
  { extensions }: SmtpSession,
  { envelope, content, recipients, size }: Transaction,
): string {
  let parameters = "";
  if (extensions.has("SIZE")) parameters += ` SIZE=${size}`;
  if (extensions.has("SMTPUTF8") && (envelope.smtputf8 || ![envelope.from, ...recipients].every(isAsciiText)))
    parameters += " SMTPUTF8";
  // What declares itself 7bit is believed only if it can be checked.
  const eightBit =
    envelope.body === "8bitmime" || (Buffer.isBuffer(content) ? !isAscii(content) : envelope.body !== "7bit");
  // To a server without 8BITMIME the octets go as they are: changing them would break every signature.
  if (eightBit && extensions.has("8BITMIME")) parameters += " BODY=8BITMIME";
  return parameters;
}

/** Why a message cannot be sent to this server at all. */
async function unsendableMessage(
  session: SmtpSession,
  transaction: Transaction,
): Promise<Outcome | undefined> {
  const { from, smtputf8 } = transaction.envelope;
  if (from !== "" && !isSafeInBrackets(from))
    return { result: "failed", reply: "the reverse-path cannot be written in SMTP", status: "5.1.7" };
  if (session.extensions.has("SMTPUTF8")) return undefined;
  if (!isAsciiText(from) || (smtputf8 && (await transaction.hasUtf8Header()))) return needsSmtpUtf8;
  return undefined;
}

/** Why a recipient cannot be named to this server. */
function unsendable(session: SmtpSession, recipient: string): Outcome | undefined {
  if (!isSafeInBrackets(recipient))
    return { result: "failed", reply: "the address cannot be written in SMTP", status: "5.1.3" };
  return isAsciiText(recipient) || session.extensions.has("SMTPUTF8") ? undefined : needsSmtpUtf8;
}

/** RFC 6531 §3.5 and RFC 5504's successor 6533 leave nothing but to give the message back. */
const needsSmtpUtf8: Outcome = {
  result: "failed",
  reply: "the message needs SMTPUTF8, which the server does not offer",
  status: "5.6.7",
};

/** Whether an address stays within its angle brackets: no control character, and outside quotes no bracket or space. */
function isSafeInBrackets(address: string): boolean {
  return (
    address !== "" && !/\p{Cc}/u.test(address) && !/[<>\s"]/u.test(address.replace(/"(?:[^"\\]|\\.)*"/gu, ""))
  );
}

function isAsciiText(text: string): boolean {
  return /^\p{ASCII}*$/u.test(text);
}

function isPositive(reply: Reply): boolean {
  return reply.code >= 200 && reply.code < 300;
}

function outcomeOf(reply: Reply): Outcome {
  const status = replyStatus(reply);
  return {
    result: isPositive(reply) ? "delivered" : reply.code >= 500 ? "failed" : "deferred",
    reply: replyText(reply),
    code: String(reply.code),
    ...(status ? { status } : {}),
  };
}
