import { connect as connectTcp, isIP, type Socket } from "node:net";
import { connect as connectTls, type TLSSocket } from "node:tls";
import { asTlsFailure, SessionError } from "./session-error.ts";

/** Where a server is, and how to talk to it. */
export interface SessionOptions {
  protocol: "smtp" | "lmtp";
  address: { host: string; port: number } | { path: string };
  /** What we call ourselves in EHLO. */
  hostname: string;
  /**
   * "implicit": from the first octet. "opportunistic": STARTTLS when offered, and whatever certificate comes (RFC
   * 7435). "required": no TLS, no delivery. "off": never.
   */
  tls: "implicit" | "opportunistic" | "required" | "off";
  /** Check the certificate. Without a meaning for "opportunistic" and "off". */
  verify: boolean;
  credentials?: { user: string; password: string } | undefined;
}

/** A socket to the server, on its way. */
export function connectTo(options: SessionOptions): Socket {
  if ("path" in options.address) return connectTcp({ path: options.address.path });
  const { host, port } = options.address;
  return options.tls === "implicit"
    ? connectTls({ port, ...tlsOptions(options) })
    : connectTcp({ host, port });
}

function tlsOptions({ address, verify, tls }: SessionOptions) {
  const host = "host" in address ? address.host : "";
  return {
    host,
    rejectUnauthorized: verify && tls !== "opportunistic",
    // SNI has names only (RFC 6066 §3).
    ...(isIP(host) ? {} : { servername: host }),
  };
}

/** The same connection, going on encrypted. */
export function encrypted(plain: Socket, options: SessionOptions): TLSSocket {
  return connectTls({ socket: plain, ...tlsOptions(options) });
}

/** Waits for the socket's event, or for the session's failure. */
export function connected(
  socket: Socket,
  event: "connect" | "secureConnect",
  session: { failure: SessionError | undefined },
): Promise<void> {
  return new Promise((resolve, reject) => {
    socket.once(event, resolve);
    socket.once("close", () => {
      const failure = session.failure ?? new SessionError("the server closed the connection", "CLOSED");
      reject(event === "secureConnect" ? asTlsFailure(failure) : failure);
    });
  });
}
