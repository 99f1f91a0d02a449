import { type Finding, failure, ok, skipped, warning } from "../finding.ts";
import { type Dialogue, greeted } from "../smtp/dialogue.ts";
import type { Endpoint } from "../smtp/endpoint.ts";
import { SessionError } from "../smtp/session.ts";

export interface AuthExpectation {
  /** Whether sessions there count as secure without TLS that we can see: a proxy has ended it. */
  countsAsSecure: boolean;
  /** Whether AUTH is to be offered in secure sessions; undefined when nobody knows. */
  wanted: boolean | undefined;
}

const check = "auth";

/** Whether passwords are asked for, and only where nobody can read them. */
export async function checkAuth(
  { clear, secure }: Dialogue,
  endpoint: Endpoint,
  { countsAsSecure, wanted }: AuthExpectation,
): Promise<Finding> {
  if (clear?.extensions.has("AUTH") && !countsAsSecure)
    return failure(
      check,
      `AUTH ${clear.extensions.get("AUTH")} is offered in the clear`,
      "Offer it after STARTTLS or with implicit TLS alone (nginx mail: starttls only; Postfix: smtpd_tls_auth_only=yes); an edge of Millrace does so by itself, unless tls: proxy says that a proxy has ended TLS.",
    );
  if (clear && !countsAsSecure) {
    const taken = await takenInTheClear(endpoint);
    if (taken) return taken;
  }
  const private_ = secure ?? (countsAsSecure ? clear : undefined);
  const offered = private_?.extensions.get("AUTH");
  if (!private_) return ok(check, "not in the clear, and there is no TLS");
  if (offered !== undefined) {
    if (wanted === false)
      return warning(
        check,
        `${offered} is offered, and SMTP_ENABLE_AUTH is false`,
        "Restart the edge: it runs with another configuration than this one.",
      );
    return ok(check, `${offered}, in secure sessions alone`);
  }
  if (wanted)
    return failure(
      check,
      "not offered, though SMTP_ENABLE_AUTH is true",
      "Restart the edge; behind nginx mail: millrace proxy nginx-mail --auth.",
    );
  return ok(check, "not offered: nobody can log in here");
}

/** Asks for AUTH without offering a name, and takes it back. */
async function takenInTheClear(endpoint: Endpoint): Promise<Finding | undefined> {
  try {
    const { session } = await greeted(endpoint, false);
    try {
      await session.command("EHLO localhost");
      const { code, lines } = await session.command("AUTH PLAIN");
      if (code !== 334) return undefined;
      await session.command("*");
      return failure(
        check,
        `AUTH is not offered in the clear, and yet taken: ${code} ${lines.join(" ")}`.trim(),
        "Take passwords in TLS alone (Postfix: smtpd_tls_auth_only=yes).",
      );
    } finally {
      session.quit();
    }
  } catch (error) {
    if (!(error instanceof SessionError)) throw error;
    // A server may well hang up on a client that asks for it.
    if (error.trouble === "closed") return undefined;
    return skipped(check, `AUTH in the clear could not be tried: ${error.message}`);
  }
}
