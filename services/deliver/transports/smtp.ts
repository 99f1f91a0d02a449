import type { TargetConfig } from "@millrace/mail";
import type { Transport } from "../transport.ts";
import { mailTransport } from "./smtp-delivery.ts";

export type SmtpConfig = Extract<TargetConfig, { smtp: string }>;

/**
 * Delivers by SMTP (RFC 5321) over connections that are kept.
 *
 * TLS: `smtps:` is encrypted from the start, port 465; `smtp:`, port 25, by STARTTLS as `tls` says. "opportunistic",
 * the default, encrypts when offered and takes any certificate (RFC 7435); "required" and `smtps:` check it, unless
 * `insecureTls`. User and password come from the URL, the password also from `password`; it is sent over TLS only,
 * unless `tls` is "off".
 *
 * A refusal is final when the server says so of the message or the recipient (5xx to MAIL, RCPT, DATA or the
 * message). A server that cannot be reached, does not greet, has no TLS though it must, or refuses the password is
 * deferred: there is somebody to mend that.
 */
export function smtpTransport(config: SmtpConfig, { hostname }: { hostname: string }): Transport {
  const url = new URL(config.smtp);
  const implicit = url.protocol === "smtps:";
  const user = decodeURIComponent(url.username);
  return mailTransport({
    protocol: "smtp",
    address: {
      host: url.hostname.replace(/^\[|\]$/g, ""),
      port: url.port === "" ? (implicit ? 465 : 25) : Number(url.port),
    },
    hostname,
    tls: implicit ? "implicit" : (config.tls ?? "opportunistic"),
    verify: !config.insecureTls,
    credentials: user ? { user, password: config.password ?? decodeURIComponent(url.password) } : undefined,
  });
}
