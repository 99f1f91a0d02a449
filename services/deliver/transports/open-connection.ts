import { failure, MailConnection } from "./mail-connection.ts";

/** Where a server is, and how to talk to it. */
export interface ConnectionOptions {
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

/**
 * Milliseconds from the first step until the server has greeted and STARTTLS is through, and between two signs of
 * life after that: what a server may take after the final dot (RFC 5321 §4.5.3.2.6), its longest.
 */
const patience = { connectionTimeout: 60_000, greetingTimeout: 60_000, socketTimeout: 600_000 };
/** Octets one reply may have: far more than any server sends, so that none can fill our memory. */
const maxReplyOctets = 65_536;

/**
 * A connection up to the point where MAIL may be sent.
 * @throws SMTPError whatever goes wrong: that a server does not want to talk is no verdict on a message
 */
export async function openConnection(
  options: ConnectionOptions,
  signal: AbortSignal,
): Promise<MailConnection> {
  try {
    return await start(options, signal);
  } catch (error) {
    // Encrypted if possible means: in clear if not. But a password never goes in clear unless told so.
    const isTls = (error as { code?: string }).code === "ETLS";
    if (!isTls || options.tls !== "opportunistic" || options.credentials) throw error;
    return start({ ...options, tls: "off" }, signal);
  }
}

async function start(options: ConnectionOptions, signal: AbortSignal): Promise<MailConnection> {
  const { protocol, address, hostname, tls, verify, credentials } = options;
  const connection = new MailConnection(
    {
      ...("path" in address ? { host: "127.0.0.1" } : address),
      ...patience,
      maxResponseSize: maxReplyOctets,
      name: hostname,
      lmtp: protocol === "lmtp",
      secure: tls === "implicit",
      ignoreTLS: tls === "off",
      requireTLS: tls === "required",
      opportunisticTLS: tls === "opportunistic",
      tls: { rejectUnauthorized: verify && tls !== "opportunistic" },
    },
    "path" in address ? address.path : undefined,
  );
  const release = connection.bindTo(signal);
  try {
    await connection.open();
    if (credentials) {
      if (!connection.secure && tls !== "off")
        throw failure(
          "the server offers no TLS, so the password was not sent: set tls: off to send it in clear",
          "ETLS",
        );
      await connection.authenticate(credentials);
    }
    return connection;
  } catch (error) {
    connection.close();
    throw error;
  } finally {
    release();
  }
}
