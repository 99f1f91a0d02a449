import { z } from "zod";
import { type Envelope, localProtocol } from "./envelope.ts";
import { type Route, type Target, type TargetConfig, targetsFor } from "./route.ts";

/** When mail may be delivered: once it is stored, or once a worker has cleared it. */
export const deliverySchema = z.strictObject({
  after: z.enum(["message.stored", "message.cleared"]).default("message.stored"),
});
export type Delivery = z.output<typeof deliverySchema>;

/** Where mail goes: the routes, and what no route takes of mail that we have vouched for. */
export interface Routing {
  routes: readonly Route[];
  relay?: TargetConfig | undefined;
  delivery?: Delivery | undefined;
}

/**
 * The targets of some recipients of a message. Only mail that we have vouched for is relayed: that of authenticated
 * users, and our own DSNs.
 */
export function targetsOf(
  { routes, relay }: Routing,
  { user, protocol }: Pick<Envelope, "user" | "protocol">,
  recipients: readonly string[],
): { targets: Target[]; unrouted: string[] } {
  return targetsFor(routes, recipients, user !== null || protocol === localProtocol ? relay : undefined);
}
