import { type Route, routeFor } from "@millrace/mail";
import type { Intake } from "@millrace/pipeline";
import type { Logger } from "@millrace/service";
import type { SMTPServerAddress, SMTPServerSession } from "smtp-server";
import type { Decisions } from "./connection.ts";
import { type Refusal, refusals } from "./refusal.ts";

export interface TransactionRules {
  hostname: string;
  routes: readonly Route[];
  intake: Pick<Intake, "unavailable">;
  log: Logger;
}

/** What is asked of MAIL and RCPT. Each answers the refusal, or undefined to go on. */
export function transactionChecks({
  hostname,
  routes,
  intake,
  log,
}: TransactionRules): Pick<Decisions, "parameters" | "mail" | "rcpt"> {
  const postmaster = postmasterAddress(routes, hostname);
  if (!postmaster) {
    log.warn(
      { routes: routes.length },
      `no route takes postmaster@${hostname}, whose mail every host must accept (RFC 5321 §4.5.1): add one to routes`,
    );
  }
  let sick: string | undefined;

  const refused = (
    session: SMTPServerSession,
    refusal: Refusal,
    details: Record<string, string>,
  ): Refusal => {
    log.info({ client: session.remoteAddress, ...details, reason: refusal.message }, "refused");
    return refusal;
  };

  return {
    parameters: { mail: new Set(["SIZE", "BODY", "SMTPUTF8"]), rcpt: new Set() },

    mail({ address }, session) {
      const unavailable = intake.unavailable();
      // That a mark is passed, and by how much, is logged by whoever watches the marks.
      if (unavailable?.why === "full") return refusals.full;
      const reason = unavailable?.reason;
      if (reason !== sick) {
        // Once for each change: while the backend is away every client of the world comes by.
        if (reason) log.warn({ reason }, "refusing mail for now");
        else log.info("accepting mail again");
        sick = reason;
      }
      if (reason) return refusals.temporary;
      if (needsUtf8(address, session)) return refused(session, refusals.addressNeedsUtf8, { from: address });
      return undefined;
    },

    rcpt(recipient: SMTPServerAddress, session) {
      const { address } = recipient;
      if (needsUtf8(address, session))
        return refused(session, refusals.addressNeedsUtf8, { recipient: address });
      if (address.toLowerCase() === "postmaster" && postmaster) {
        recipient.address = postmaster;
        return undefined;
      }
      if (!routeFor(routes, address))
        return refused(session, refusals.unknownRecipient, { recipient: address });
      return undefined;
    },
  };
}

/**
 * Who mail to the bare `postmaster` is for (RFC 5321 §4.5.1): postmaster at this host when a route takes it, else
 * the bare word when a route takes that, else nobody.
 */
function postmasterAddress(routes: readonly Route[], hostname: string): string | undefined {
  return [`postmaster@${hostname}`, "postmaster"].find((address) => routeFor(routes, address));
}

function needsUtf8(address: string, session: SMTPServerSession): boolean {
  return !session.envelope.smtpUtf8 && /[^\0-\x7f]/.test(address);
}
