import type { MessageId } from "@millrace/mail";
import type { PolicyTransaction } from "@millrace/pipeline";
import type { Connection } from "../connection.ts";
import { envelopeOf } from "../transaction-envelope.ts";

/** What the body of a message has come to, at its final dot. */
export interface BodyFacts {
  message: MessageId;
  size: number;
  sha256: string;
  hops: number;
  headers: { name: string; value: string }[];
}

/** The facts of a transaction at MAIL, RCPT or DATA, as plain data: they leave for another process or another machine. */
export function mailFacts(connection: Connection, from: string, tags: string[]): PolicyTransaction<"mail"> {
  return { on: "mail", ...known(connection, tags), from };
}

export function rcptFacts(
  connection: Connection,
  recipient: string,
  tags: string[],
): PolicyTransaction<"rcpt"> {
  return { on: "rcpt", ...known(connection, tags), recipient };
}

export function dataFacts(
  connection: Connection,
  body: BodyFacts,
  tags: string[],
): PolicyTransaction<"data"> {
  return { on: "data", ...known(connection, tags), ...body };
}

function known(connection: Connection, tags: string[]) {
  const { client, helo, protocol, tls, user, from, recipients } = envelopeOf(connection);
  return { session: connection.session.id, client, helo, protocol, tls, user, from, recipients, tags };
}
