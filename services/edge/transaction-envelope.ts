import type { Envelope } from "@millrace/mail";
import type { Connection } from "./connection.ts";

/** The envelope of the transaction a connection is in. */
export function envelopeOf({ session, tls, user }: Connection): Envelope {
  const { mailFrom, rcptTo, smtpUtf8 } = session.envelope;
  const sender = mailFrom || { address: "", args: false as const };
  const body = sender.args && typeof sender.args.BODY === "string" ? sender.args.BODY.toLowerCase() : "";
  const smtputf8 = smtpUtf8 === true;
  return {
    from: sender.address,
    // Two ways to write one mailbox, such as the bare postmaster, may name it twice.
    recipients: [...new Set(rcptTo.map(({ address }) => address))],
    smtputf8,
    body: body === "7bit" || body === "8bitmime" ? body : null,
    client: { ip: session.remoteAddress, port: session.remotePort },
    helo: session.hostNameAppearsAs || "",
    // RFC 6531 §4.3 has names of its own for the extension.
    protocol: smtputf8 ? `UTF8SMTP${session.secure ? "S" : ""}${user ? "A" : ""}` : session.transmissionType,
    tls,
    user: user?.name ?? null,
  };
}
