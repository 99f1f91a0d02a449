import { domainOf, type Route, routeFor, type TargetConfig } from "@millrace/mail";
import { accept, definePolicy, type PolicyTransaction, reject } from "@millrace/pipeline";

// The edge's own policies. They answer at once and from one fact alone, so they are asked on the main thread, as soon
// as that fact is known, and before anybody else is.

/**
 * Mail is only for recipients that a route takes: this is no open relay. Where there is a relay, users who have
 * authenticated may also send to any address that has a domain.
 */
export const routesPolicy = (routes: readonly Route[], relay: TargetConfig | undefined) =>
  definePolicy({
    name: "routes",
    on: "rcpt",
    decide({ recipient, user }: Pick<PolicyTransaction<"rcpt">, "recipient" | "user">) {
      const relayed = relay !== undefined && user !== null && domainOf(recipient) !== "";
      return relayed || routeFor(routes, recipient) ? accept() : reject(550, "5.1.1 No such recipient here");
    },
  });

/** The number of Received fields is how a mail loop shows (RFC 5321 §6.3). */
export const hopsPolicy = (maxHops: number) =>
  definePolicy({
    name: "hops",
    on: "data",
    decide: ({ hops }: Pick<PolicyTransaction<"data">, "hops">) =>
      hops > maxHops ? reject(554, "5.4.6 Too many hops, mail is looping") : accept(),
  });
