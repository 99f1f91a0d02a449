import type { SMTPError } from "nodemailer/lib/smtp-connection";
import { oneLine, type RecipientOutcome } from "../transport.ts";

export type Outcome = Omit<RecipientOutcome, "recipient">;

/** What a server's reply means for those it is about. `reply`: its lines, each with the code (RFC 5321 §4.2). */
export function outcomeOfReply(reply: string): Outcome {
  const code = reply.slice(0, 3);
  // 503 is a word on the order of commands, not on the message: another connection may do better.
  const final = code.startsWith("5") && code !== "503";
  const lines = reply.split("\n").map((line) => line.slice(4));
  const status = /^([245]\.\d{1,3}\.\d{1,3})(?: |$)/.exec(lines[0] as string)?.[1];
  // Every line repeats the status (RFC 2034 §4); once is enough to read.
  const text = lines.map((line, index) =>
    index > 0 && status && line.startsWith(`${status} `) ? line.slice(status.length + 1) : line,
  );
  return {
    result: code.startsWith("2") ? "delivered" : final ? "failed" : "deferred",
    reply: oneLine(`${code} ${text.join(" ")}`),
    code,
    ...(status?.[0] === code[0] ? { status } : {}),
  };
}

/** The words for nodemailer's codes where neither the server nor the system has said one. */
const words: Record<string, string> = {
  ETIMEDOUT: "TIMEOUT",
  ETLS: "TLS",
  EAUTH: "AUTH",
  EPROTOCOL: "PROTOCOL",
  ABORTED: "ABORTED",
};

/** What an error means for those who have no reply of their own. */
export function outcomeOfError(error: SMTPError): Outcome {
  const { code = "", response, responseCode = 0 } = error;
  // Of the message, a refusal is a verdict; of the connection it says only that this is not the time.
  if (code === "EENVELOPE" || code === "EMESSAGE") {
    if (response) return outcomeOfReply(response);
    // Larger than the server's SIZE (RFC 1870 §6.1): nodemailer does not even ask.
    return { result: "failed", reply: oneLine(error.message), status: "5.3.4" };
  }
  const setup = code === "ETLS" || code === "EAUTH";
  if (response && responseCode >= 400 && !setup) return { ...outcomeOfReply(response), result: "deferred" };
  const word = words[code];
  const errno = setup ? undefined : error.originalCode;
  return { result: "deferred", reply: oneLine(describe(error)), code: errno ?? word ?? "CLOSED" };
}

/** Several addresses that were all tried make an AggregateError without a text of its own. */
function describe(error: Error): string {
  const first = error instanceof AggregateError ? (error.errors[0] as Error | undefined) : undefined;
  return error.message || (first?.message ?? error.name);
}
