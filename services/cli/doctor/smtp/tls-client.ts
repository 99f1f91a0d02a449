import { createSecureContext, getCACertificates, type SecureContext, type SecureVersion } from "node:tls";

/** However old and weak: what a server takes is to be seen, and nothing secret is said. */
const anyStrength = { minVersion: "TLSv1", ciphers: "DEFAULT@SECLEVEL=0" } as const;

/** Reading hundreds of authorities takes longer than a handshake, so it is done once for all sessions. */
const contexts = new WeakMap<readonly string[], SecureContext>();

/** For sessions whose certificates are looked at: trusts those of the system, and these. */
export function trusting(authorities: readonly string[]): SecureContext {
  let context = contexts.get(authorities);
  if (!context) {
    context = createSecureContext({ ...anyStrength, ca: trustedPems(authorities) });
    contexts.set(authorities, context);
  }
  return context;
}

/** For a handshake with one version and no other, whatever the certificate. */
export function speakingOnly(version: SecureVersion): SecureContext {
  return createSecureContext({ ...anyStrength, minVersion: version, maxVersion: version, ca: [] });
}

/** Whom this machine's programs trust, and further authorities, in PEM. */
export function trustedPems(authorities: readonly string[]): string[] {
  return [...getCACertificates("default"), ...getCACertificates("system"), ...authorities];
}
