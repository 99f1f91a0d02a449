import type { Target } from "@millrace/mail";
import type { Transport } from "../transport.ts";
import { lmtpTransport } from "./lmtp.ts";
import { maildirTransport } from "./maildir.ts";
import { smtpTransport } from "./smtp.ts";
import { webhookTransport } from "./webhook.ts";

/** What the transports need to know of the installation. */
export interface TransportOptions {
  /** What we call ourselves in EHLO and LHLO. */
  hostname: string;
  /** How the console is reached from outside: the start of the links in a webhook. */
  consoleUrl: string;
  /** Key that signs those links. */
  linkSecret: Buffer;
  /** Connections a webhook may have at once. SMTP and LMTP have one for each attempt under way. */
  connections?: number;
}

// There may be a Maildir for each recipient: they share what is worth keeping.
const maildirs = maildirTransport();

/** The transport for a target's destination. Make one for each destination, and keep it: it holds connections. */
export function openTransport(target: Target, options: TransportOptions): Transport {
  const { config } = target;
  if ("maildir" in config) return maildirs;
  if ("smtp" in config) return smtpTransport(config, options);
  if ("lmtp" in config) return lmtpTransport(config, options);
  return webhookTransport(config, options);
}
