import { lookup as dnsLookup, type LookupAddress } from "node:dns";
import { isIP, type LookupFunction } from "node:net";
import ipaddr from "ipaddr.js";
import { buildConnector } from "undici";

/** A webhook leads to an address it may not: private, loopback, link-local, metadata … */
export class BlockedAddress extends Error {
  override name = "BlockedAddress";
  readonly code = "ADDRESS_BLOCKED";
}

/**
 * Whether an address is one of the public internet. All else is not: private and shared networks, loopback,
 * link-local (where clouds keep their metadata), unique local, multicast, documentation, and what wraps an IPv4
 * address in an IPv6 one, which is taken for the address within or refused.
 */
export function isPublicAddress(address: string): boolean {
  return ipaddr.isValid(address) && ipaddr.process(address).range() === "unicast";
}

/**
 * Connects as undici does, but to public addresses only. The names' addresses are sifted where they are resolved for
 * this very connection, and the address of the socket is looked at once more before a single octet of the request
 * goes out: a name that answers differently the second time gains nothing.
 *
 * @param timeout milliseconds for the connection
 */
export function publicConnector(timeout: number): buildConnector.connector {
  const connect = buildConnector({
    timeout,
    allowH2: false,
    lookup: publicLookup,
  } as buildConnector.BuildOptions);
  return (options, callback) => {
    const host = options.hostname.replace(/^\[|\]$/g, "");
    // An address in the URL is never looked up.
    if (isIP(host) && !isPublicAddress(host)) {
      callback(blocked(host, host), null);
      return;
    }
    connect(options, (...[error, socket]) => {
      if (error) callback(error, null);
      else if (isPublicAddress(socket.remoteAddress ?? "")) callback(null, socket);
      else {
        socket.destroy();
        callback(blocked(host, socket.remoteAddress ?? "nowhere"), null);
      }
    });
  };
}

const publicLookup: LookupFunction = (hostname, options, callback) => {
  dnsLookup(hostname, { ...options, all: true }, (error, addresses: LookupAddress[]) => {
    if (error) return callback(error, "");
    const allowed = addresses.filter(({ address }) => isPublicAddress(address));
    const [first] = allowed;
    if (!first) return callback(blocked(hostname, addresses.map(({ address }) => address).join(", ")), "");
    if (options.all) callback(null, allowed);
    else callback(null, first.address, first.family);
  });
};

function blocked(host: string, address: string): BlockedAddress {
  const where = host === address ? address : `${host} (${address})`;
  return new BlockedAddress(
    `${where} is not an address of the public internet: set allowPrivate: true on the webhook if it is meant`,
  );
}
