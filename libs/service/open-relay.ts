import type { Route, TargetConfig } from "@millrace/mail";
import { isLoopback, type Listener } from "./listeners.ts";

/**
 * Routes that make an open relay: what they take is anybody's, they lead to a mail server, and strangers may connect. A
 * smarthost for everything can be right, where nobody but one's own machines reaches the edge; so these are lines to
 * warn with, each with the place, the value and the cure. Empty when all is well.
 */
export function openRelays({
  routes,
  listeners,
}: {
  routes: readonly Route[];
  listeners: readonly Listener[];
}): string[] {
  const open = listeners.filter(forStrangers).map(({ name, host, port }) => `${name} (${host}:${port})`);
  if (open.length === 0) return [];
  const lines: string[] = [];
  for (const [i, { recipients, to }] of routes.entries()) {
    const pattern = recipients.find(takesAnyDomain);
    const server = to.map(mailServer).find((each) => each !== undefined);
    if (pattern !== undefined && server !== undefined) {
      lines.push(
        `routes[${i}] takes "${pattern}" and leads to ${server}: whoever reaches listener ${open.join(", ")} can send to any domain through it, which makes it an open relay; name your own domains there and give the server as relay, for users who authenticate, or see that only your own machines reach the edge`,
      );
    }
    // Behind this one no route is reached.
    if (recipients.some((each) => /^\**(@\*+)?$/.test(each))) break;
  }
  return lines;
}

/** Through a proxy comes whoever reaches the proxy. */
function forStrangers({ host, tls, proxies }: Listener): boolean {
  return proxies !== undefined || tls === "proxy" || !isLoopback(host);
}

/** Whether a pattern leaves the domain to whoever sends: `*`, `sales@*`, `*@*.com`, but not `*@*.example.com`. */
function takesAnyDomain(pattern: string): boolean {
  const star = pattern.lastIndexOf("*");
  if (star === -1) return false;
  const fixed = pattern.slice(star + 1);
  return !fixed.includes("@") && fixed.split(".").filter((label) => label !== "").length < 2;
}

function mailServer(target: TargetConfig): string | undefined {
  if ("smtp" in target) return `smtp ${new URL(target.smtp).host}`;
  return "lmtp" in target ? `lmtp ${target.lmtp}` : undefined;
}
