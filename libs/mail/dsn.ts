import { asciiOf, encodedWord, foldedField, plainLine, type TextPart, transferEncoded } from "./mime-text.ts";

/** A recipient who did not get the message, and why. */
export interface BouncedRecipient {
  recipient: string;
  /** The far side's last words, or our own reason. */
  reply: string;
  /** The code those words began with, when they are of an SMTP or LMTP server: "550". */
  code?: string | undefined;
  /** Enhanced status (RFC 3463), if there was one. */
  status?: string | undefined;
  /** Refused for good; else it was deferred until its time was over. */
  permanent: boolean;
}

/** What a delivery status notification is about. */
export interface DsnRequest {
  /** Id of the notification: its Message-ID's local part. */
  id: string;
  /** Name this installation goes by. */
  hostname: string;
  /** Reverse-path of the original, which is not null: whom it goes to. */
  to: string;
  /** Id of the original, as its sender read it in the 250. */
  original: string;
  /** Milliseconds since the epoch: of the original's acceptance, of the last attempt, of now. */
  arrivedAt: number;
  lastAttemptAt: number;
  now: number;
  /** Name of the host that would not take it, when there is one. */
  remote?: string | undefined;
  recipients: readonly BouncedRecipient[];
  /** The original's header, octets as they came, up to its empty line or some bound. */
  header: Buffer;
}

export interface Dsn {
  octets: Buffer;
  /** The transaction needs SMTPUTF8, for its recipient's sake; the message itself is 7-bit always. */
  smtputf8: boolean;
}

/**
 * A notification that a message was not delivered: `multipart/report` with words for a person, `message/delivery-status`
 * (RFC 3464) for a program, and the original's header (RFC 6522 §4). Addresses that are not ASCII are written as
 * RFC 6533 §3 has it for 7-bit messages.
 *
 * Everything foreign in it (addresses, replies, the original's header) is made harmless first: lines of at most 998
 * octets, CRLF, 7-bit, and nothing can begin a line or a part of its own.
 */
export function buildDsn(request: DsnRequest): Dsn {
  const parts: TextPart[] = [
    transferEncoded("text/plain; charset=utf-8", explanation(request)),
    {
      headers: ["Content-Type: message/delivery-status", "Content-Transfer-Encoding: 7bit"],
      body: deliveryStatus(request),
    },
    transferEncoded("text/rfc822-headers", request.header),
  ];
  const boundary = boundaryFor(request.id, parts);
  const lines = [
    ...messageHeader(request),
    foldedField("Content-Type", `multipart/report; report-type=delivery-status; boundary="${boundary}"`),
    "",
    "This is a MIME-encapsulated message.",
    "",
    ...parts.flatMap(({ headers, body }) => [`--${boundary}`, ...headers, "", body.replace(/\r\n$/, "")]),
    `--${boundary}--`,
    "",
  ];
  return { octets: Buffer.from(lines.join("\r\n"), "latin1"), smtputf8: !isAscii(request.to) };
}

function messageHeader({ id, hostname, to, original, now, header }: DsnRequest): string[] {
  const host = hostOf(hostname);
  const about = messageIdOf(header);
  return [
    `From: Mail Delivery System <MAILER-DAEMON@${host}>`,
    toField(to),
    "Subject: Undelivered Mail Returned to Sender",
    `Date: ${dateOf(now)}`,
    `Message-ID: <${asciiOf(id)}@${host}>`,
    ...(about ? [`In-Reply-To: ${about}`, `References: ${about}`] : []),
    // RFC 3834 §5: nobody is to answer this by machine.
    "Auto-Submitted: auto-replied",
    `X-Millrace-Original: ${asciiOf(original)}`,
    "MIME-Version: 1.0",
  ];
}

/** An address that cannot stand in a 7-bit field as it is becomes the name of a group without members (RFC 6857 §3.1.7). */
function toField(to: string): string {
  const bare = to.replace(/"(?:[^"\\]|\\.)*"/g, "");
  const plain =
    /^[\x20-\x7e]{1,900}$/.test(to) && !/[\s<>()",:;\\]/.test(bare.replace(/:(?=[^[\]]*\])/g, ""));
  return plain ? `To: <${to}>` : `To: ${encodedWord(to)}:;`;
}

function explanation({ hostname, recipients, original }: DsnRequest): Buffer {
  const words = [
    `This is the mail system at ${plainLine(hostname)}.`,
    "",
    "Your message could not be delivered to the recipients below, and is not tried again.",
    `It was accepted as ${plainLine(original)}; its header is attached.`,
    "",
    ...recipients.flatMap(({ recipient, reply }) => [
      `<${plainLine(recipient)}>:`,
      `    ${plainLine(reply)}`,
      "",
    ]),
  ];
  return Buffer.from(words.join("\r\n"), "utf8");
}

/** RFC 3464 §2: the fields of the message, then those of each recipient, each group behind an empty line. */
function deliveryStatus(request: DsnRequest): string {
  const { hostname, arrivedAt, lastAttemptAt, remote, recipients } = request;
  const groups = [
    [`Reporting-MTA: dns; ${hostOf(hostname)}`, `Arrival-Date: ${dateOf(arrivedAt)}`],
    ...recipients.map((each) => [
      foldedField("Final-Recipient", typedAddress(each.recipient)),
      "Action: failed",
      `Status: ${statusOf(each)}`,
      ...(remote ? [`Remote-MTA: dns; ${hostOf(remote)}`] : []),
      foldedField("Diagnostic-Code", `${isSmtp(each) ? "smtp" : "x-millrace"}; ${asciiOf(each.reply)}`),
      `Last-Attempt-Date: ${dateOf(lastAttemptAt)}`,
    ]),
  ];
  return groups.map((fields) => `${fields.join("\r\n")}\r\n`).join("\r\n");
}

function isSmtp({ code = "", reply }: BouncedRecipient): boolean {
  return /^[245]\d\d$/.test(code) && reply.startsWith(code);
}

/** The status that was given, else the class the code says; else RFC 3463's words for "refused" and "time expired". */
function statusOf({ status, code = "", permanent }: BouncedRecipient): string {
  if (status && /^[45]\.\d{1,3}\.\d{1,3}$/.test(status)) return status;
  const kind = /^([45])\d\d$/.exec(code)?.[1];
  return kind ? `${kind}.0.0` : permanent ? "5.0.0" : "4.4.7";
}

/** RFC 6533 §3, utf-8-addr-xtext: what is no plain ASCII stands as its code point, in hexadecimal. */
function typedAddress(address: string): string {
  const shown = address.slice(0, 800);
  if (isAscii(shown)) return `rfc822; ${asciiOf(shown)}`;
  const encoded = [...shown].map((char) =>
    /[\x21-\x2a\x2c-\x3c\x3e-\x5b\x5d-\x7e]/.test(char)
      ? char
      : `\\x{${(char.codePointAt(0) as number).toString(16).toUpperCase().padStart(2, "0")}}`,
  );
  return `utf-8; ${encoded.join("")}`;
}

/** The original's Message-ID, if it is one that can be repeated as it is. */
function messageIdOf(header: Buffer): string | undefined {
  const field = /^message-id:\s*(<[!-;=?-~]{1,900}>)[ \t]*\r?$/im.exec(header.toString("latin1"));
  return field?.[1];
}

/** A line no part contains. The id was chosen after the original came: nobody could know it when writing that. */
function boundaryFor(id: string, parts: readonly TextPart[]): string {
  let boundary = `=_${id.replace(/[^0-9A-Za-z]/g, "").slice(0, 40)}`;
  while (parts.some(({ body }) => body.includes(boundary))) boundary += "_";
  return boundary;
}

function hostOf(name: string): string {
  return name.replace(/[^A-Za-z0-9.[\]:-]/g, "-").slice(0, 255) || "localhost";
}

/** RFC 5322 §3.3, in UTC. */
function dateOf(at: number): string {
  return new Date(at).toUTCString().replace("GMT", "+0000");
}

function isAscii(text: string): boolean {
  return /^\p{ASCII}*$/u.test(text);
}
