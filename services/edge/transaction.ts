import { maySendFrom } from "@millrace/auth";
import { type Route, routeFor, type TargetConfig } from "@millrace/mail";
import type { PolicyTransaction } from "@millrace/pipeline";
import type { Intake } from "@millrace/pipeline/runtime";
import type { Logger } from "@millrace/service";
import type { SMTPServerAddress, SMTPServerSession } from "smtp-server";
import type { Connection, Decisions, Verdict } from "./connection.ts";
import type { LimitChecks } from "./limits.ts";
import { routesPolicy } from "./policies/own-policies.ts";
import type { Policies } from "./policies/policies.ts";
import { mailFacts, rcptFacts } from "./policies/transaction-facts.ts";
import type { TransactionTags } from "./policies/transaction-tags.ts";
import { Refusal, refusalOf, refusals } from "./refusal.ts";

export interface TransactionRules {
  hostname: string;
  routes: readonly Route[];
  /** Where mail of authenticated users goes that no route takes. */
  relay: TargetConfig | undefined;
  intake: Pick<Intake, "unavailable">;
  policies: Policies;
  tags: TransactionTags;
  limits: Pick<LimitChecks, "message" | "recipient">;
  log: Logger;
}

/** What is asked of MAIL and RCPT. Each answers the refusal, or undefined to go on. */
export function transactionChecks({
  hostname,
  routes,
  relay,
  intake,
  policies,
  tags,
  limits,
  log,
}: TransactionRules): Pick<Decisions, "parameters" | "mail" | "rcpt"> {
  const ownRoutes = routesPolicy(routes, relay);
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
    const { message: reason, policy } = refusal;
    log.info({ client: session.remoteAddress, ...details, reason, policy }, "refused");
    return refusal;
  };

  const ask = async (connection: Connection, facts: PolicyTransaction): Promise<Verdict> => {
    const answer = await policies.ask(facts);
    if (answer instanceof Refusal) {
      const { on, from } = facts;
      return refused(
        connection.session,
        answer,
        on === "rcpt" ? { from, recipient: facts.recipient } : { from },
      );
    }
    tags.set(connection, answer);
    return undefined;
  };

  return {
    parameters: { mail: new Set(["SIZE", "BODY", "SMTPUTF8"]), rcpt: new Set() },

    mail({ address }, connection) {
      const { session, user } = connection;
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
      if (user && !maySendFrom(user, address))
        return refused(session, refusals.senderNotOwn, { from: address, user: user.name });
      return unless(limits.message(connection), () =>
        policies.asks("mail") ? ask(connection, mailFacts(connection, address, [])) : undefined,
      );
    },

    rcpt(recipient: SMTPServerAddress, connection) {
      const { session, user } = connection;
      const { address } = recipient;
      if (needsUtf8(address, session))
        return refused(session, refusals.addressNeedsUtf8, { recipient: address });
      // Before anybody knows whether there is such a recipient: who tries names out is limited as well.
      return unless(limits.recipient(connection), () => {
        if (address.toLowerCase() === "postmaster" && postmaster) {
          recipient.address = postmaster;
        } else {
          const refusal = refusalOf(
            ownRoutes.decide({ recipient: address, user: user?.name ?? null }),
            ownRoutes.name,
          );
          if (refusal) return refused(session, refusal, { recipient: address });
        }
        if (!policies.asks("rcpt")) return undefined;
        return ask(connection, rcptFacts(connection, recipient.address, tags.of(connection)));
      });
    },
  };
}

/** What is decided next, unless somebody who has to be asked refuses; at once where nobody has to. */
function unless(
  asked: Promise<Verdict> | undefined,
  next: () => Verdict | Promise<Verdict>,
): Verdict | Promise<Verdict> {
  return asked ? asked.then((refusal) => refusal ?? next()) : next();
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
