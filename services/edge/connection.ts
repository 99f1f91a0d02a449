import type { SMTPServerAddress, SMTPServerSession } from "smtp-server";
import type { Refusal } from "./refusal.ts";

/** Limits of one connection, in milliseconds and numbers. */
export interface GuardLimits {
  /** From the moment a command is awaited until its line is complete. */
  commandTimeout: number;
  /** From DATA to the final dot. */
  dataTimeout: number;
  /** From the final dot to the reply. */
  commitTimeout: number;
  /** Refused commands before the connection is closed. */
  maxErrors: number;
}

/** A client's connection, as whoever takes its message sees it. */
export interface Connection {
  readonly session: SMTPServerSession;
  readonly tls: { version: string; cipher: string } | null;
  /** The one reply to the message, after its end. Without a refusal, `text` stands after the 250. */
  answer(refusal: Refusal | undefined, text?: string): void;
  /** Refuses at once and ends the connection, whatever the client is still sending. */
  cut(refusal: Refusal): void;
}

/** A message being taken in: dots unstuffed, line by line or not, in order. */
export interface Reception {
  /** Octets of the body. Nothing more is read from the client until `next` is called. */
  take(octets: Buffer, next: () => void): void;
  /** The final dot has come, and every `next` before it: time to answer. */
  end(): void;
  /** The client left before the final dot. */
  abandoned(): void;
  /** The time from the final dot to the reply is over: answer now. */
  overdue(): void;
}

/** What the edge decides, beside the protocol itself. */
export interface Decisions {
  /** Parameters of MAIL and RCPT that are understood, upper case. */
  parameters: { mail: ReadonlySet<string>; rcpt: ReadonlySet<string> };
  mail(address: SMTPServerAddress, session: SMTPServerSession): Refusal | undefined;
  rcpt(address: SMTPServerAddress, session: SMTPServerSession): Refusal | undefined;
  data(connection: Connection): Reception;
  connected(session: SMTPServerSession): void;
  closed(session: SMTPServerSession): void;
}
