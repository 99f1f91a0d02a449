import { Resolver } from "node:dns/promises";
import type { DNSResolver } from "mailauth";

/**
 * Asks these name servers, or the machine's own when there are none.
 * @param servers `ip` or `ip:port`
 * @param seconds for one answer, asked for twice
 */
export function askNameServers(servers: readonly string[], seconds: number): DNSResolver {
  const resolver = new Resolver({ timeout: seconds * 1_000, tries: 2 });
  if (servers.length > 0) resolver.setServers(servers);
  return async (domain, type) => (await resolver.resolve(domain, type)) as string[] | string[][];
}
