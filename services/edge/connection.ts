import type { Credentials, User } from "@millrace/auth";
import type { SMTPServerAddress, SMTPServerSession } from "smtp-server";
import type { ProxiedTls } from "./proxy-protocol.ts";
import type { Refusal } from "./refusal.ts";

/** Limits of one connection, in milliseconds and numbers. */
export interface GuardLimits {
  /** From the moment a command is awaited until its line is complete. */
  commandTimeout: number;
  /** From DATA to the final dot. */
  dataTimeout: number;
  /** From the final dot to the reply, or from the policies' last decision. */
  commitTimeout: number;
  /** For all policies that are asked at one moment. */
  decisionTimeout: number;
  /** Refused commands before the connection is closed. */
  maxErrors: number;
}

/** A client's connection, as whoever takes its message sees it. */
export interface Connection {
  readonly session: SMTPServerSession;
  /** Of the client's connection, with us or with a proxy before us. Whether it is one is `session.secure`. */
  readonly tls: ProxiedTls | null;
  /** Who has authenticated. */
  readonly user: User | null;
  /** The proxy's own connection, such as a health check. */
  readonly local: boolean;
  /** Gives the reply to a message this many milliseconds from now. */
  allow(milliseconds: number): void;
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

/** A refusal, or undefined to go on. */
export type Verdict = Refusal | undefined;

/** What the edge decides, beside the protocol itself. */
export interface Decisions {
  /** Whether there is room for one more connection of this client: asked once, as soon as it is clear that it is no health check. */
  admit(connection: Connection): Promise<Verdict> | undefined;
  /** One that was admitted, or not, is over. */
  left(connection: Connection): void;
  /** Parameters of MAIL and RCPT that are understood, upper case. */
  parameters: { mail: ReadonlySet<string>; rcpt: ReadonlySet<string> };
  mail(address: SMTPServerAddress, connection: Connection): Verdict | Promise<Verdict>;
  rcpt(address: SMTPServerAddress, connection: Connection): Verdict | Promise<Verdict>;
  data(connection: Connection): Reception;
  /** Who has this password. Without it there is no AUTH. */
  authenticate?: ((attempt: Credentials) => Promise<User | Refusal>) | undefined;
  connected(session: SMTPServerSession): void;
  closed(session: SMTPServerSession): void;
}
