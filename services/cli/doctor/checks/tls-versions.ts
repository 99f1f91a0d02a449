import type { SecureVersion } from "node:tls";
import { type Finding, failure, ok, skipped, warning } from "../finding.ts";
import { handshakeWith } from "../smtp/dialogue.ts";
import type { Endpoint } from "../smtp/endpoint.ts";
import { SessionError } from "../smtp/session.ts";

const versions: SecureVersion[] = ["TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"];

/** Offers each version by itself, one session after the other: an address may not hold many at once. */
export async function checkTlsVersions(endpoint: Endpoint, implicit: boolean): Promise<Finding> {
  const check = "tls versions";
  const taken: string[] = [];
  for (const version of versions) {
    try {
      await handshakeWith(version, endpoint, implicit);
      taken.push(nameOf(version));
    } catch (error) {
      if (!(error instanceof SessionError)) throw error;
      // To refuse a version a server says so in an alert, or hangs up.
      if (error.trouble === "handshake" || error.trouble === "closed") continue;
      return skipped(check, `${nameOf(version)} could not be tried: ${error.message}`);
    }
  }
  const seen = `takes ${taken.join(", ") || "none"}`;
  if (taken.includes("TLS 1.0") || taken.includes("TLS 1.1"))
    return failure(
      check,
      `${seen}; those before 1.2 are broken (RFC 8996)`,
      "Allow 1.2 and 1.3 alone (HAProxy: ssl-default-bind-options ssl-min-ver TLSv1.2; nginx: ssl_protocols TLSv1.2 TLSv1.3); the edge's own TLS takes no others.",
    );
  if (!taken.includes("TLS 1.2") || !taken.includes("TLS 1.3"))
    return warning(
      check,
      seen,
      "Allow both 1.2, which older clients need, and 1.3 (nginx: ssl_protocols TLSv1.2 TLSv1.3; HAProxy: no ssl-max-ver).",
    );
  return ok(check, `${seen}; refuses 1.0 and 1.1`);
}

function nameOf(version: SecureVersion): string {
  return version === "TLSv1" ? "TLS 1.0" : version.replace("v", " ");
}
