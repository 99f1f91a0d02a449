/**
 * A reply that says no, as the peer reads it: reply code, enhanced status code (RFC 3463) and a bland text.
 * The cause is for the log alone.
 */
export class Refusal extends Error {
  override name = "Refusal";
  readonly responseCode: number;
  /** Whether the client may try again later. */
  readonly temporary: boolean;

  constructor(responseCode: number, text: string) {
    super(text);
    this.responseCode = responseCode;
    this.temporary = responseCode < 500;
  }
}

/** Every refusal the edge itself decides on. smtp-server adds those for the syntax of commands. */
export const refusals = {
  temporary: new Refusal(451, "4.3.0 Temporary failure, try again later"),
  /** Instead of `temporary`, for a client that goes on sending a message that is lost already. */
  temporaryAndCut: new Refusal(421, "4.3.0 Temporary failure, closing connection"),
  /** RFC 3463 X.3.1: Redis's memory, a disk or the backlog is beyond its mark. */
  full: new Refusal(452, "4.3.1 Mail system full, try again later"),
  /** Instead of `full`, for a client that goes on sending all the same. */
  fullAndCut: new Refusal(421, "4.3.1 Mail system full, closing connection"),
  unknownRecipient: new Refusal(550, "5.1.1 No such recipient here"),
  unknownParameter: new Refusal(555, "5.5.4 Parameter not recognized or not implemented"),
  /** RFC 6531 §3.5. */
  addressNeedsUtf8: new Refusal(553, "5.6.7 Address needs SMTPUTF8"),
  tooLarge: new Refusal(552, "5.3.4 Message exceeds the size limit"),
  /** Postfix's code for the same thing; there is no registered one that fits better. */
  bareLineEnding: new Refusal(550, "5.5.2 Message has a CR or LF alone; lines end in CRLF"),
  /** RFC 5321 §6.3. */
  tooManyHops: new Refusal(554, "5.4.6 Too many hops, mail is looping"),
} as const;
