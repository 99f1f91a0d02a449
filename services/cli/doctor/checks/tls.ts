import { type Finding, failure, ok, warning } from "../finding.ts";
import type { Dialogue } from "../smtp/dialogue.ts";
import type { ExpectedTls } from "../smtp/endpoint.ts";

const certificateCure =
  "Set tls: starttls with cert and key on the listener (SMTP_TLS_MODE, SMTP_TLS_CERT, SMTP_TLS_KEY), or end STARTTLS at the proxy (millrace proxy nginx-mail).";

/** How the session became private, beside how it should have. */
export function checkTls({ tls, clear, starttlsProblem }: Dialogue, expected: ExpectedTls): Finding {
  const check = "tls";
  const offered = clear?.extensions.has("STARTTLS") ?? false;
  if (starttlsProblem)
    return failure(
      check,
      `STARTTLS is offered and does not work: ${starttlsProblem}`,
      "Certificate, key or TLS versions of the listener do not work: its log says why.",
    );
  const what = tls ? `${tls.getProtocol()}, ${tls.getCipher().standardName}` : "";
  if (tls && clear === undefined) return ok(check, `implicit: ${what}`);
  if (tls && expected === "off")
    return warning(
      check,
      `STARTTLS: ${what}, where none was expected`,
      "Restart the edge: it runs with another configuration than this one.",
    );
  if (tls) return ok(check, `STARTTLS: ${what}`);
  if (expected === "off") return ok(check, "off, as configured");
  if (expected === "starttls" && !offered)
    return failure(
      check,
      "STARTTLS is not offered: mail and passwords would go in the clear",
      certificateCure,
    );
  return warning(check, "no TLS: everything goes in the clear", certificateCure);
}
