import { isIPv6 } from "node:net";

/** A header of version 1 that names nobody: the text a server that waits for a header cannot overlook. */
export const unknownHeader = Buffer.from("PROXY UNKNOWN\r\n");

/** A header of version 2 that says the connection is the proxy's own, as of a health check: it counts in no limit. */
export const localHeader = Buffer.from("\r\n\r\n\0\r\nQUIT\n\x20\0\0\0", "latin1");

/** A header of version 1 in the name of a client. */
export function clientHeader(client: string): Buffer {
  const [family, server] = isIPv6(client) ? ["TCP6", "2001:db8::1"] : ["TCP4", "192.0.2.1"];
  return Buffer.from(`PROXY ${family} ${client} ${server} 40000 25\r\n`);
}
