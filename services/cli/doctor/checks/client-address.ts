import { isIP, isIPv4 } from "node:net";
import { type Finding, failure, ok, skipped, warning } from "../finding.ts";
import { converse } from "../smtp/dialogue.ts";
import type { Endpoint } from "../smtp/endpoint.ts";
import { clientHeader } from "../smtp/proxy-header.ts";

const check = "client address";

/** Any of these reaches this machine, and is no proxy's. */
const anotherOfOurs = "127.0.0.199";
/** Of a network for documentation (RFC 5737): nobody's. */
const nobodys = "192.0.2.199";

const proxyCure =
  "Let the proxy say who the client is (HAProxy: send-proxy-v2; nginx: proxy_protocol on) and the listener take it from the proxy (proxyProtocol.from, SMTP_PROXY_PROTOCOL_FROM); until then limits, policies and Received: are about the proxy.";

/**
 * Whether the edge knows where we come from. Its reply to EHLO names the address it takes us for, so that no mail is
 * needed to learn it.
 */
export async function checkClientAddress(endpoint: Endpoint, implicit: boolean): Promise<Finding> {
  const header = endpoint.proxyHeader !== undefined;
  const loopback = /^127\./.test(endpoint.address) && endpoint.source === undefined && !header;
  let local = "";
  let greeting: string;
  try {
    const from = {
      ...endpoint,
      ...(header && { proxyHeader: clientHeader(nobodys) }),
      ...(loopback && { source: anotherOfOurs }),
    };
    const { session, clear, secure } = await converse(from, implicit, (open) => {
      local = open.localAddress;
    });
    session.quit();
    greeting = (secure ?? clear)?.greeting ?? "";
  } catch (error) {
    return skipped(
      check,
      `no second session${loopback ? ` from ${anotherOfOurs}` : ""}: ${(error as Error).message}`,
    );
  }
  const seen = /\[(?:IPv6:)?([0-9a-f:.]+)\]/i.exec(greeting)?.[1]?.replace(/^::ffff:(?=\d+\.)/i, "");
  if (seen === undefined || !isIP(seen))
    return skipped(
      check,
      `the reply to EHLO names no address: "${greeting}"`,
      "nginx mail answers EHLO itself. Send a message, and see from where millrace trace <id> says it came.",
    );
  return judge(header ? nobodys : local, seen, header, endpoint);
}

function judge(sent: string, seen: string, header: boolean, { address }: Endpoint): Finding {
  // A proxy on the same machine may connect from the very same address.
  if (seen === sent && sent === address)
    return skipped(
      check,
      `the edge takes us for ${seen}, which is ours, and the server's as well`,
      "From another machine, or with --source <another address of this one>, it shows whose it is.",
    );
  if (seen === sent)
    return ok(
      check,
      `${seen}, ${header ? "as the PROXY header says" : "which is ours, is what the edge sees"}`,
    );
  if (header)
    return failure(
      check,
      `the edge takes us for ${seen}, though the PROXY header says ${sent}`,
      "Restart the edge: it does not run with this configuration.",
    );
  const lost = `the edge takes us for ${seen}, and we are ${sent}`;
  if (isInternal(sent) && !isInternal(seen) && seen !== address)
    return ok(check, `${lost}; a NAT on our side would do that`);
  if (isInternal(seen) || seen === address) return failure(check, lost, proxyCure);
  return warning(check, `${lost}; a NAT on the way, or a proxy that hides its clients`, proxyCure);
}

/** Addresses no client from the internet can have. */
function isInternal(address: string): boolean {
  return isIPv4(address)
    ? /^(127|10|192\.168|169\.254|172\.(1[6-9]|2\d|3[01])|100\.(6[4-9]|[7-9]\d|1[01]\d|12[0-7]))\./.test(
        address,
      )
    : /^(::1$|f[cd]|fe[89ab])/i.test(address);
}
