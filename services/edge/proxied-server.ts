import { randomUUID } from "node:crypto";
import type { BlockList, Socket } from "node:net";
import type { TLSSocket } from "node:tls";
import { isListed } from "@millrace/service";
import { SMTPServer, type SMTPServerOptions } from "smtp-server";
import type { SMTPConnectionOptions, TLSError } from "smtp-server/lib/smtp-connection.js";
import { type ProxyHeader, ProxyHeaderError, readProxyHeader } from "./proxy-protocol.ts";

// Like guarded-server.ts, this file knows smtp-server 3.21.6 from the inside: what happens to a socket before its
// session. The original reads version 1 alone, from addresses written out, and serves everybody else as they come.

/** Why a connection ended before its session began, or in the middle of STARTTLS. */
export interface ArrivalFailure {
  what: "proxy" | "tls";
  kind: "untrusted" | "malformed" | "oversized" | "slow" | "incomplete" | "handshake";
  /** Address of the proxy while its header is read, and of the client from then on. */
  peer: string;
  reason: string;
}

/** What stands before the sessions of a listener. */
export interface Arrival {
  /** Proxies, of which each connection must come and begin with a header; undefined: clients connect by themselves. */
  proxies: BlockList | undefined;
  /** Milliseconds for the PROXY header to arrive, and again for the handshake of implicit TLS. */
  handshakeTimeout: number;
  failed(failure: ArrivalFailure): void;
}

/** What is known of a connection when its session begins. */
export interface ArrivalOptions extends SMTPConnectionOptions {
  proxied?: ProxyHeader;
}

/** The address a connection came from; one of IPv4 as such, whatever the listener is. */
export function peerOf(socket: Socket): string {
  return socket.remoteAddress?.replace(/^::ffff:(?=\d+\.)/i, "") ?? "unknown";
}

/** smtp-server behind proxies: a connection has its client's address when its session begins. */
export class ProxiedServer extends SMTPServer {
  readonly arrival: Arrival;
  /** Of the headers that were read: their octets, and whom they speak for. */
  private readonly headers = new WeakMap<Socket, { length: number; client: string }>();

  constructor(options: SMTPServerOptions, arrival: Arrival) {
    super(options);
    this.arrival = arrival;
  }

  override _expectsProxyHeader(_socket: Socket): boolean {
    return this.arrival.proxies !== undefined;
  }

  override _handleProxy(
    socket: Socket,
    callback: (error: Error | null, options?: ArrivalOptions & { id: string }) => void,
  ): void {
    const { proxies, handshakeTimeout } = this.arrival;
    if (!proxies) {
      super._handleProxy(socket, callback);
      return;
    }
    const peer = peerOf(socket);
    // From now on nobody else listens, and a reset must not end the process.
    const ignore = () => {};
    const refuse = (kind: ArrivalFailure["kind"], reason: string) => {
      stop();
      socket.on("error", ignore).destroy();
      this.arrival.failed({ what: "proxy", kind, peer, reason });
      callback(new Error(reason));
    };
    const gone = () => {
      // A connection without a single octet is a health check of the plainest kind.
      if (octets.length > 0)
        return refuse("incomplete", `closed after ${octets.length} octets of a PROXY header`);
      stop();
      socket.on("error", ignore).destroy();
      callback(new Error("closed without a PROXY header"));
    };
    const read = () => {
      for (let chunk = socket.read() as Buffer | null; chunk; chunk = socket.read() as Buffer | null) {
        octets = octets.length === 0 ? chunk : Buffer.concat([octets, chunk]);
        let found: ReturnType<typeof readProxyHeader>;
        try {
          found = readProxyHeader(octets);
        } catch (error) {
          const kind = error instanceof ProxyHeaderError ? error.kind : "malformed";
          return refuse(kind, (error as Error).message);
        }
        if (found) return done(found);
      }
    };
    const done = ({ header, length }: { header: ProxyHeader; length: number }) => {
      stop();
      this.headers.set(socket, { length, client: header.source?.ip ?? peer });
      if (octets.length > length) socket.unshift(octets.subarray(length));
      callback(null, { id: randomUUID(), proxied: header, ...endpointsOf(header) });
    };
    const stop = () => {
      clearTimeout(timer);
      socket.off("readable", read).off("end", gone).off("close", gone).off("error", gone);
    };
    let octets: Buffer = Buffer.alloc(0);
    const timer = setTimeout(() => {
      const seconds = handshakeTimeout / 1_000;
      refuse(
        "slow",
        `no whole PROXY header within ${seconds} s (${octets.length} octets came): does the proxy send one?`,
      );
    }, handshakeTimeout).unref();
    // Reset before it was taken: nobody can tell any more from where it came.
    if (socket.remoteAddress === undefined) gone();
    else if (isListed(proxies, peer)) {
      socket.on("readable", read).on("end", gone).on("close", gone).on("error", gone);
    } else {
      refuse("untrusted", "not one of the proxies this listener is for");
    }
  }

  override _upgrade(socket: Socket, callback: (error: TLSError | null, secured?: TLSSocket) => void): void {
    const { handshakeTimeout } = this.arrival;
    // Asked now: a socket that is destroyed has forgotten its peer.
    const { length, client } = this.headers.get(socket) ?? { length: 0, client: peerOf(socket) };
    const timer = setTimeout(() => {
      // The original waits as long as for a command, and longer for one that trickles.
      const late = new Error(`no TLS handshake within ${handshakeTimeout / 1_000} s`);
      this._pendingSockets.get(socket)?.destroy(late);
    }, handshakeTimeout).unref();
    super._upgrade(socket, (error, secured) => {
      clearTimeout(timer);
      if (error && socket.bytesRead > length) this.handshakeFailed(error, client);
      callback(error, secured);
    });
  }

  /** Told of every handshake that ended for a reason, at the beginning or after STARTTLS. */
  handshakeFailed(error: TLSError, peer: string): void {
    if (error.report === false) return;
    this.arrival.failed({
      what: "tls",
      kind: "handshake",
      peer,
      reason: error.meta?.message ?? error.message,
    });
  }
}

function endpointsOf({ source, destination }: ProxyHeader): SMTPConnectionOptions {
  return {
    ...(source && { remoteAddress: source.ip, remotePort: source.port }),
    ...(destination && { localAddress: destination.ip, localPort: destination.port }),
  };
}
