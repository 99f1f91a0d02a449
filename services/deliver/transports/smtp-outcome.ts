import type { SMTPError } from "nodemailer/lib/smtp-connection";
import { oneLine, type RecipientOutcome } from "../transport.ts";

export type Outcome = Omit<RecipientOutcome, "recipient">;

/**
 * What a server's reply means for those it is about (RFC 5321 §4.2.1): 2xx is done, 5xx final, all else temporary.
 *
 * @param reply its lines, each with the code (RFC 5321 §4.2)
 * @param toRecipient it answers RCPT
 */
export function outcomeOfReply(reply: string, toRecipient = false): Outcome {
  const code = reply.slice(0, 3);
  const lines = reply.split("\n").map((line) => line.slice(4));
  const status = /^([245]\.\d{1,3}\.\d{1,3})(?: |$)/.exec(lines[0] as string)?.[1];
  // Every line repeats the status (RFC 2034 §4); once is enough to read.
  const text = lines.map((line, index) =>
    index > 0 && status && line.startsWith(`${status} `) ? line.slice(status.length + 1) : line,
  );
  return {
    result: code.startsWith("2") ? "delivered" : isFinal(code, status, toRecipient) ? "failed" : "deferred",
    reply: oneLine(`${code} ${text.join(" ")}`),
    code,
    ...(status?.[0] === code[0] ? { status } : {}),
    ...(code === "421" ? { sick: true } : {}),
  };
}

function isFinal(code: string, status: string | undefined, toRecipient: boolean): boolean {
  // A word on the order of commands, not on the message: another connection may do better.
  if (code === "503") return false;
  // Too many recipients, in the words of RFC 821: to be read as 452 (RFC 5321 §4.5.3.1.10), unless it is about the size.
  if (code === "552" && toRecipient) return status === "5.3.4" || status === "5.2.3";
  return code.startsWith("5");
}

/** The words for nodemailer's codes where neither the server nor the system has said one. */
const words: Record<string, string> = {
  ETIMEDOUT: "TIMEOUT",
  ETLS: "TLS",
  EAUTH: "AUTH",
  EPROTOCOL: "PROTOCOL",
  ABORTED: "ABORTED",
};

/**
 * What an error means for those who have no reply of their own. A refusal of the connection (greeting, EHLO) is
 * temporary even if it is a 5xx: like Postfix by default, since it comes of a sick server or a misled client more often
 * than of one that never wants mail (RFC 5321 §3.1).
 */
export function outcomeOfError(error: SMTPError): Outcome {
  const { code = "", response, responseCode = 0 } = error;
  // Of the message, a refusal is a verdict; of the connection it says only that this is not the time.
  if (code === "EENVELOPE" || code === "EMESSAGE") {
    if (response) return outcomeOfReply(response);
    // Larger than the server's SIZE (RFC 1870 §6.1): nodemailer does not even ask.
    return { result: "failed", reply: oneLine(error.message), status: "5.3.4" };
  }
  const setup = code === "ETLS" || code === "EAUTH";
  if (response && responseCode >= 400 && !setup)
    return { ...outcomeOfReply(response), result: "deferred", sick: true };
  const word = words[code];
  const errno = setup ? undefined : error.originalCode;
  const outcome: Outcome = {
    result: "deferred",
    reply: oneLine(describe(error)),
    code: errno ?? word ?? "CLOSED",
  };
  return code === "ABORTED" ? outcome : { ...outcome, sick: true };
}

/** Several addresses that were all tried make an AggregateError without a text of its own. */
function describe(error: Error): string {
  const first = error instanceof AggregateError ? (error.errors[0] as Error | undefined) : undefined;
  return error.message || (first?.message ?? error.name);
}
