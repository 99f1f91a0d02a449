import type { Asked, Limits } from "@millrace/limits";
import { addressesOf, cidrsIn, isListed, type Logger, type Settings } from "@millrace/service";
import type { Connection, Decisions, Verdict } from "./connection.ts";
import type { EdgeMetrics } from "./metrics.ts";
import { limitRefusals } from "./refusal.ts";

/** What the limits say of a connection and of each of its commands; nothing, and no promise, where nobody has to be asked. */
export interface LimitChecks extends Pick<Decisions, "admit" | "left"> {
  message(connection: Connection): Promise<Verdict> | undefined;
  recipient(connection: Connection): Promise<Verdict> | undefined;
}

export interface LimitRules {
  /** Without them nothing is limited. */
  limits: Limits | undefined;
  settings: Pick<Settings, "SMTP_LIMIT_EXEMPT">;
  metrics: Pick<EdgeMetrics, "limited" | "unasked">;
  log: Logger;
}

/**
 * Limits are there to keep clients from each other's way, not from ours: when Redis does not answer for them, they are
 * passed over. (Whether mail can be taken in at all, the commit says by itself.)
 */
export function limitChecks({ limits, settings, metrics, log }: LimitRules): LimitChecks {
  const { SMTP_LIMIT_EXEMPT: exempt } = settings;
  const exempted = exempt === undefined ? undefined : addressesOf(cidrsIn(exempt));
  let unasked = false;

  const held = ({ session, local }: Connection): boolean =>
    !local && !(exempted && isListed(exempted, session.remoteAddress));

  const verdict = async (connection: Connection, asked: NonNullable<Asked>): Promise<Verdict> => {
    try {
      const limit = await asked;
      if (unasked) log.info("limits are asked again");
      unasked = false;
      if (limit === undefined) return undefined;
      const refusal = limitRefusals[limit];
      const { session, user } = connection;
      metrics.limited(limit);
      log.info(
        { client: session.remoteAddress, ...(user && { user: user.name }), limit, reason: refusal.message },
        "refused",
      );
      return refusal;
    } catch (error) {
      metrics.unasked();
      // Once for each change, like everything that is said of a backend that is away.
      if (!unasked) log.warn({ err: error }, "limits are not asked: Redis does not answer for them");
      unasked = true;
      return undefined;
    }
  };
  const ask = (connection: Connection, question: (limits: Limits) => Asked): Promise<Verdict> | undefined => {
    const asked = limits && held(connection) ? question(limits) : undefined;
    return asked && verdict(connection, asked);
  };

  return {
    admit: (connection) =>
      ask(connection, ({ connected }) => connected(connection.session.remoteAddress, connection.session.id)),
    left: ({ session }) => limits?.disconnected(session.remoteAddress, session.id),
    message: (connection) =>
      ask(connection, ({ message }) => message(connection.session.remoteAddress, connection.user?.name)),
    recipient: (connection) =>
      ask(connection, ({ recipient }) => recipient(connection.session.remoteAddress, connection.user?.name)),
  };
}
