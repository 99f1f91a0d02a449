import { isAscii } from "node:buffer";
import type { SMTPError } from "nodemailer/lib/smtp-connection";
import { type DeliveryRequest, everyRecipient, type RecipientOutcome, type Transport } from "../transport.ts";
import { isAsciiText, type MailConnection, type Transaction } from "./mail-connection.ts";
import type { ConnectionOptions } from "./open-connection.ts";
import { SessionPool } from "./session-pool.ts";
import { type Outcome, outcomeOfError, outcomeOfReply } from "./smtp-outcome.ts";

/** Octets up to which a message is held in memory and sent in one piece. */
const wholeOctets = 262_144;
/** Recipients in one transaction: the least every server has to take (RFC 5321 §4.5.3.1.8). */
const recipientsAtOnce = 100;

/** What one transaction carries; `whole` is the message, if it is small. */
interface Mail {
  request: DeliveryRequest;
  recipients: string[];
  whole: Buffer | undefined;
}

/** Delivers over connections to one server, by SMTP or LMTP. */
export function mailTransport(options: ConnectionOptions): Transport {
  const pool = new SessionPool(options);
  return {
    async deliver(request) {
      const whole = request.size <= wholeOctets ? await request.read() : undefined;
      const outcomes: RecipientOutcome[] = [];
      for (let at = 0; at < request.recipients.length; at += recipientsAtOnce) {
        const recipients = request.recipients.slice(at, at + recipientsAtOnce);
        outcomes.push(...(await attempt(pool, { request, recipients, whole })));
      }
      return outcomes;
    },
    async close() {
      pool.close();
    },
  };
}

/**
 * One transaction. Where the connection breaks, those who had their answer keep it and the rest is deferred. A
 * message whose last reply was lost is so sent a second time: that is the price of never losing one (RFC 1047).
 */
async function attempt(pool: SessionPool, mail: Mail): Promise<RecipientOutcome[]> {
  const { signal } = mail.request;
  for (let fresh = false; ; fresh = true) {
    let connection: MailConnection;
    try {
      connection = await pool.acquire(signal, fresh);
    } catch (error) {
      return everyRecipient(mail.recipients, outcomeOfError(error as SMTPError));
    }
    const release = connection.bindTo(signal);
    try {
      const outcomes = await send(connection, mail);
      if (outcomes !== "stale") return outcomes;
    } finally {
      release();
      pool.release(connection);
    }
  }
}

/**
 * @returns "stale" when a connection used before turned out to be over before it took anything in
 * @throws what reading the message throws; the connection is broken off then, so that no part passes for the whole
 */
async function send(connection: MailConnection, mail: Mail): Promise<RecipientOutcome[] | "stale"> {
  const { request, recipients, whole } = mail;
  const { from, smtputf8, body } = request.manifest.envelope;
  const refusal = await unsendableMessage(connection, mail);
  if (refusal) return everyRecipient(recipients, refusal);
  const unnamed = new Map(
    recipients.map((recipient) => [recipient, unsendable(connection, recipient, "5.1.3")] as const),
  );
  const to = recipients.filter((recipient) => !unnamed.get(recipient));
  const outcomes = (rest?: Outcome, replies?: Transaction["replies"]) =>
    recipients.map((recipient) => {
      const given = replies?.get(recipient);
      const own = unnamed.get(recipient) ?? (given ? outcomeOfReply(given.reply, given.to === "RCPT") : rest);
      return { recipient, ...(own as Outcome) };
    });
  if (to.length === 0) return outcomes();

  const { used } = connection;
  // What declares itself 7bit is believed only if it can be checked. To a server without 8BITMIME the octets go as
  // they are: changing them would break every signature.
  const use8BitMime = body === "8bitmime" || (whole ? !isAscii(whole) : body !== "7bit");
  const size = whole?.length ?? request.size;
  const { replies, end, entered } = await connection.transact(
    { from, to, size, use8BitMime, smtputf8 },
    whole ?? (await request.raw()),
  );
  if (typeof end === "string") return outcomes(outcomeOfReply(end), replies);
  if (end.code === "ESTREAM") throw end;
  if (used && !entered && isConnectionLost(end)) return "stale";
  return outcomes(outcomeOfError(end), replies);
}

/** A server may hang up on a connection it has had enough of, with 421 or without a word. */
function isConnectionLost({ code = "", responseCode }: SMTPError): boolean {
  return responseCode === 421 || ["ECONNECTION", "ESOCKET", "ETIMEDOUT"].includes(code);
}

/** Why a message cannot be sent to this server at all. */
async function unsendableMessage(connection: MailConnection, mail: Mail): Promise<Outcome | undefined> {
  const { from, smtputf8 } = mail.request.manifest.envelope;
  const refusal = from === "" ? undefined : unsendable(connection, from, "5.1.7");
  if (refusal || !smtputf8 || connection.supports("SMTPUTF8")) return refusal;
  return (await hasUtf8Header(mail)) ? needsSmtpUtf8 : undefined;
}

/**
 * Why an address cannot be named to this server: it must stay within its angle brackets. nodemailer takes no bracket,
 * even where quotes make it harmless.
 */
function unsendable(connection: MailConnection, address: string, status: string): Outcome | undefined {
  const bare = address.replace(/"(?:[^"\\]|\\.)*"/gu, "");
  if (address === "" || /[\p{Cc}<>]/u.test(address) || /[\s"]/u.test(bare))
    return { result: "failed", reply: "the address cannot be written in SMTP", status };
  return isAsciiText(address) || connection.supports("SMTPUTF8") ? undefined : needsSmtpUtf8;
}

/** RFC 6531 §3.5 and RFC 6533 leave nothing but to give the message back. */
const needsSmtpUtf8: Outcome = {
  result: "failed",
  reply: "the message needs SMTPUTF8, which the server does not offer",
  status: "5.6.7",
};

async function hasUtf8Header({ whole, request }: Mail): Promise<boolean> {
  if (whole) return !isAscii(headerOf(whole));
  let start: Buffer = Buffer.alloc(0);
  for await (const piece of await request.raw()) {
    start = Buffer.concat([start, piece as Buffer]);
    if (start.includes("\r\n\r\n") || start.length > wholeOctets) break;
  }
  return !isAscii(headerOf(start));
}

function headerOf(message: Buffer): Buffer {
  const end = message.indexOf("\r\n\r\n");
  return end < 0 ? message : message.subarray(0, end);
}
