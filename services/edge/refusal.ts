import type { LimitName } from "@millrace/limits";
import type { Decision } from "@millrace/pipeline";

/**
 * A reply that says no, as the peer reads it: reply code, enhanced status code (RFC 3463) and a bland text.
 * The cause is for the log alone.
 */
export class Refusal extends Error {
  override name = "Refusal";
  readonly responseCode: number;
  /** Whether the client may try again later. */
  readonly temporary: boolean;
  /** Name of the policy that has decided so, for the log. */
  readonly policy: string | undefined;

  constructor(responseCode: number, text: string, policy?: string) {
    super(text);
    this.policy = policy;
    this.responseCode = responseCode;
    this.temporary = responseCode < 500;
  }
}

/** The refusal a policy has decided on; undefined when it lets the transaction go on. */
export function refusalOf(decision: Decision, policy: string): Refusal | undefined {
  return "code" in decision ? new Refusal(decision.code, decision.text, policy) : undefined;
}

/** Every refusal of the edge itself, but for those of its policies. smtp-server adds those for the syntax of commands. */
export const refusals = {
  temporary: new Refusal(451, "4.3.0 Temporary failure, try again later"),
  /** Instead of `temporary`, for a client that goes on sending a message that is lost already. */
  temporaryAndCut: new Refusal(421, "4.3.0 Temporary failure, closing connection"),
  /** RFC 3463 X.3.1: Redis's memory, a disk or the backlog is beyond its mark. */
  full: new Refusal(452, "4.3.1 Mail system full, try again later"),
  /** Instead of `full`, for a client that goes on sending all the same. */
  fullAndCut: new Refusal(421, "4.3.1 Mail system full, closing connection"),
  unknownParameter: new Refusal(555, "5.5.4 Parameter not recognized or not implemented"),
  /** RFC 6531 §3.5. */
  addressNeedsUtf8: new Refusal(553, "5.6.7 Address needs SMTPUTF8"),
  /** RFC 4954 §6, as those that follow. */
  credentialsInvalid: new Refusal(535, "5.7.8 Authentication credentials invalid"),
  authenticationUnavailable: new Refusal(454, "4.7.0 Temporary authentication failure"),
  authenticationNeedsTls: new Refusal(538, "5.7.11 Encryption required for authentication"),
  /** Of an address, and of a user: which of the two, only log and metrics tell. */
  tooManyAttempts: {
    client: new Refusal(421, "4.7.0 Too many failed authentications, try again later"),
    user: new Refusal(421, "4.7.0 Too many failed authentications, try again later"),
  },
  senderNotOwn: new Refusal(553, "5.7.1 Sender address is not one of this user"),
  tooLarge: new Refusal(552, "5.3.4 Message exceeds the size limit"),
  /** Postfix's code for the same thing; there is no registered one that fits better. */
  bareLineEnding: new Refusal(550, "5.5.2 Message has a CR or LF alone; lines end in CRLF"),
} as const;

/**
 * What is said when a limit is reached. For connections 421, after which the client has to go; for messages and
 * recipients Postfix's 450 4.7.1: RFC 5321 §4.2.3 has 450 for what is "temporarily blocked for policy reasons". 451 is
 * what we say of trouble of our own, and after 452 4.5.3 a client sends the other recipients at once (§4.5.3.1.10).
 */
export const limitRefusals: Readonly<Record<LimitName, Refusal>> = {
  connections: new Refusal(421, "4.7.0 Too many connections from this address, try again later"),
  connection_rate: new Refusal(421, "4.7.0 Too many new connections from this address, try again later"),
  client_messages: new Refusal(450, "4.7.1 Too many messages from this address, try again later"),
  client_recipients: new Refusal(450, "4.7.1 Too many recipients from this address, try again later"),
  user_messages: new Refusal(450, "4.7.1 Too many messages from this user, try again later"),
  user_recipients: new Refusal(450, "4.7.1 Too many recipients from this user, try again later"),
};
