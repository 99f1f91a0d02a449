import { type Finding, failure, ok } from "../finding.ts";
import { type Endpoint, shown } from "../smtp/endpoint.ts";
import { type SessionError, SmtpSession } from "../smtp/session.ts";

/** Whether something listens there. @param start what starts it, for the cure */
export async function checkPort(endpoint: Endpoint, start: string): Promise<Finding> {
  const { address, port, timeout } = endpoint;
  const at = `${address} port ${port}`;
  const started = performance.now();
  try {
    // Without the header: one that is a whole of its own would be a session.
    const session = await SmtpSession.connect({ ...endpoint, proxyHeader: undefined });
    session.destroy();
    const ms = performance.now() - started;
    return ok("port", `${at} takes connections`, { connectMs: Math.round(ms) });
  } catch (error) {
    const { trouble, message } = error as SessionError;
    if (trouble === "refused")
      return failure(
        "port",
        `${shown(endpoint)} refuses connections: nothing listens on ${at}`,
        `${start} What listens where: ss -ltnp | grep ':${port} '.`,
      );
    if (trouble === "silent")
      return failure(
        "port",
        `no answer from ${at} within ${timeout / 1_000} s`,
        `A firewall drops the packets, or the machine is away: let port ${port} through (millrace firewall nftables --open ${port}), and see that no provider blocks it.`,
      );
    return failure(
      "port",
      `${at}: ${message}`,
      endpoint.source === undefined
        ? "See that this machine has a route to that address."
        : `Give an address of this machine, from which that one is reached: ip route get ${address}.`,
    );
  }
}
