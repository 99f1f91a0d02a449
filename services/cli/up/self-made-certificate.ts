import { execFileSync } from "node:child_process";
import { createPrivateKey, X509Certificate } from "node:crypto";
import { mkdirSync, readFileSync, renameSync } from "node:fs";
import { dirname } from "node:path";
import { StartError } from "@millrace/service";
import { systemProgram } from "./system-program.ts";

const days = 825;
/** Milliseconds before its end at which another one is made. */
const renewBefore = 30 * 86_400_000;

/**
 * Makes a certificate that signs itself, for `hostname`, localhost and this machine's own addresses, unless a good one is
 * there.
 *
 * @param cert path of the certificate, PEM; the folder is made for its owner alone
 * @param key path of the key, PEM
 */
export function selfMadeCertificate(
  cert: string,
  key: string,
  hostname: string,
  say: (text: string) => void,
): void {
  if (isGood(cert, key, hostname)) return;
  const otherwise = "name a certificate of your own with --cert";
  const openssl = systemProgram("openssl", ["openssl"], say, otherwise);
  mkdirSync(dirname(cert), { recursive: true, mode: 0o700 });
  const names = new Set([hostname, "localhost"]);
  const alternatives = [...[...names].map((name) => `DNS:${name}`), "IP:127.0.0.1", "IP:::1"];
  try {
    execFileSync(
      openssl,
      [
        ...["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"],
        // A common name has 64 characters at most; who asks for a name looks at the alternatives.
        ...["-days", String(days), "-subj", "/CN=Millrace, self-made"],
        ...["-addext", `subjectAltName=${alternatives.join(",")}`],
        ...["-keyout", `${key}.new`, "-out", `${cert}.new`],
      ],
      { stdio: ["ignore", "ignore", "pipe"] },
    );
  } catch (error) {
    const said = String((error as { stderr?: Buffer }).stderr ?? (error as Error).message).trim();
    throw new StartError(
      `openssl cannot make a certificate for hostname ${hostname} (${said.split("\n")[0]}): correct hostname, or ${otherwise}`,
    );
  }
  // Two that are no pair, after a crash between these lines, are made anew.
  renameSync(`${key}.new`, key);
  renameSync(`${cert}.new`, cert);
}

function isGood(cert: string, key: string, hostname: string): boolean {
  try {
    const certificate = new X509Certificate(readFileSync(cert));
    return (
      certificate.checkPrivateKey(createPrivateKey(readFileSync(key))) &&
      certificate.validToDate.getTime() - Date.now() > renewBefore &&
      certificate.checkHost(hostname) !== undefined
    );
  } catch {
    return false;
  }
}
