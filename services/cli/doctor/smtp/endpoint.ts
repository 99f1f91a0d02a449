/** An address the doctor speaks SMTP to. */
export interface Endpoint {
  /** As it was named, for messages. */
  host: string;
  /** Where to connect to: an IP address. */
  address: string;
  port: number;
  /** Address of ours to connect from; undefined for the one the system takes. */
  source: string | undefined;
  /** Sent before anything else, where the endpoint wants one. */
  proxyHeader: Buffer | undefined;
  /** Name its certificate should have, and the one to ask for (SNI); undefined when nobody knows one. */
  serverName: string | undefined;
  /** Authorities to trust beside those of the system, in PEM. */
  authorities: readonly string[];
  /** The certificate that `millrace up` has made for this place, in PEM: the right one, and yet no client's to trust. */
  selfMade: string | undefined;
  /** Milliseconds for each step: connecting, a handshake, one reply. */
  timeout: number;
}

/** How an endpoint's sessions are expected to become private. `any`: as they come. */
export type ExpectedTls = "implicit" | "starttls" | "off" | "any";

/** What a port is for, by its number (RFC 8314 §3.3, RFC 3207). */
export function expectedTls(port: number): ExpectedTls {
  if (port === 465) return "implicit";
  return port === 587 || port === 25 ? "starttls" : "any";
}

export function shown({ host, port }: Pick<Endpoint, "host" | "port">): string {
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}
