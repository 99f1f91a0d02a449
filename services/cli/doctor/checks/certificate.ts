import { X509Certificate } from "node:crypto";
import { isIP } from "node:net";
import { checkServerIdentity, type TLSSocket } from "node:tls";
import { type Finding, failure, ok, skipped, warning } from "../finding.ts";
import type { Endpoint } from "../smtp/endpoint.ts";
import { trustedPems } from "../smtp/tls-client.ts";

const day = 86_400_000;
/** Days left from which on a renewal should have happened: certbot renews with 30 left, and tries twice a day. */
const soon = 21;

const fullChain =
  "Give the listener the certificate with its intermediates in one file, its own first: certbot's fullchain.pem, not cert.pem (cert, SMTP_TLS_CERT; HAProxy: crt; nginx: ssl_certificate).";

/** Chain, names and days of the certificate a server has shown. */
export function checkCertificate(tls: TLSSocket, endpoint: Endpoint, now = Date.now()): Finding[] {
  const chain = chainOf(tls);
  const [leaf] = chain;
  if (!leaf) return [failure("certificate chain", "the server shows no certificate", fullChain)];
  return [checkChain(tls, chain, endpoint), checkName(tls, leaf, endpoint), checkDays(chain, now)];
}

/** The certificates the server has sent, its own first, and those of the trust store that complete them. */
function chainOf(tls: TLSSocket): X509Certificate[] {
  const chain: X509Certificate[] = [];
  let at = tls.getPeerCertificate(true);
  while (at?.raw && chain.length < 10) {
    const certificate = new X509Certificate(at.raw);
    if (chain.some((each) => each.fingerprint256 === certificate.fingerprint256)) break;
    chain.push(certificate);
    at = at.issuerCertificate;
  }
  return chain;
}

function checkChain(tls: TLSSocket, chain: X509Certificate[], endpoint: Endpoint): Finding {
  const { authorities, selfMade } = endpoint;
  const check = "certificate chain";
  const last = chain.at(-1) as X509Certificate;
  const path = chain.map(subjectOf).join(" ← ");
  const problem = problemOf(tls);
  if (problem === undefined) return ok(check, path);
  const untrusted = "with --ca <file> the doctor trusts it as well";
  if (/^(CERT_HAS_EXPIRED|CERT_NOT_YET_VALID)$/.test(problem)) {
    const trusted = isTrusted(last, authorities);
    if (trusted) return ok(check, path);
  }
  if (selfMade !== undefined && new X509Certificate(selfMade).fingerprint256 === last.fingerprint256)
    return warning(
      check,
      `${path}: self-made by millrace up, so no client trusts it`,
      "Give the proxy one that clients know: millrace up --proxy … --cert <file> (UP_PROXY_CERT), issued by an authority (Let's Encrypt: certbot certonly).",
    );
  if (selfSigned(last) && chain.length === 1)
    return failure(
      check,
      `${path}: self-signed, so no client can trust it`,
      `Have it issued by an authority (Let's Encrypt: certbot certonly; then millrace certbot-hook); ${untrusted}.`,
    );
  if (selfSigned(last))
    return failure(
      check,
      `${path}: nobody knows this authority`,
      `Clients must be given its certificate, or take one from an authority they know; ${untrusted}.`,
    );
  if (/^(UNABLE_TO_|CERT_UNTRUSTED)/.test(problem) || /EXPIRED|NOT_YET/.test(problem))
    return failure(
      check,
      `${path}: the chain ends here, and the certificate of its issuer, ${issuerOf(last)}, was not sent: an intermediate is missing (${problem})`,
      `${fullChain} If the authority is one of your own, ${untrusted}.`,
    );
  return failure(check, `${path}: ${problem}`, fullChain);
}

/** What OpenSSL holds against the chain, by its name. */
function problemOf({ authorized, authorizationError }: TLSSocket): string | undefined {
  if (authorized || !authorizationError) return undefined;
  const { code, message } = authorizationError as Error & { code?: string };
  return code ?? message ?? String(authorizationError);
}

function isTrusted(last: X509Certificate, authorities: readonly string[]): boolean {
  return trustedPems(authorities).some((pem) => {
    const authority = new X509Certificate(pem);
    return last.checkIssued(authority) && last.verify(authority.publicKey);
  });
}

function checkName(tls: TLSSocket, leaf: X509Certificate, { serverName, host }: Endpoint): Finding {
  const check = "certificate name";
  const names = (leaf.subjectAltName ?? "").replaceAll(/(DNS|IP Address):/g, "") || "no names at all";
  const wanted = serverName ?? host;
  const wrong = checkServerIdentity(wanted, tls.getPeerCertificate());
  if (!wrong) return ok(check, `${wanted} is one of: ${names}`);
  if (isIP(wanted))
    return skipped(
      check,
      `${wanted} is an address; the certificate is for ${names}`,
      "Name the host as its clients do, or give --servername <name>.",
    );
  return failure(
    check,
    `${wanted} is not one of its names: ${names}`,
    `Have a certificate issued for ${wanted} as well (certbot certonly -d ${wanted}), or add it under names with its serverNames; where the clients' name is another, give --servername.`,
  );
}

function checkDays(chain: X509Certificate[], now: number): Finding {
  const check = "certificate days";
  const until = (certificate: X509Certificate) => Date.parse(certificate.validTo);
  const first = chain.reduce((one, other) => (until(other) < until(one) ? other : one));
  const days = Math.floor((until(first) - now) / day);
  const figures = { daysLeft: days };
  const date = new Date(until(first)).toISOString().slice(0, 10);
  const renew =
    "Renew it (certbot renew) and see why that did not happen by itself (systemctl list-timers certbot.timer); millrace certbot-hook prints what makes proxy and edge read it again.";
  const early = chain.find((each) => Date.parse(each.validFrom) > now);
  if (early)
    return {
      ...failure(
        check,
        `${subjectOf(early)} is not valid before ${new Date(early.validFrom).toISOString()}`,
        "Set the clock right, here or where it was issued (timedatectl), or wait.",
      ),
      figures,
    };
  if (days < 0) return { ...failure(check, `${subjectOf(first)} expired on ${date}`, renew), figures };
  const seen = `${days} left, until ${date}${first === chain[0] ? "" : ` (${subjectOf(first)})`}`;
  return days < soon ? warning(check, seen, renew, figures) : ok(check, seen, figures);
}

function selfSigned(certificate: X509Certificate): boolean {
  return certificate.checkIssued(certificate) && certificate.verify(certificate.publicKey);
}

function subjectOf({ subject }: X509Certificate): string {
  return nameOf(subject);
}

function issuerOf({ issuer }: X509Certificate): string {
  return nameOf(issuer);
}

/** The common name of a distinguished name; the whole where it has none. */
function nameOf(distinguished: string): string {
  const common = /^CN=(.*)$/m.exec(distinguished ?? "")?.[1];
  // A comma in it is written with a backslash (RFC 4514 §2.4).
  return common?.replaceAll(/\\(.)/g, "$1") ?? (distinguished?.replaceAll("\n", ", ") || "(no name)");
}
