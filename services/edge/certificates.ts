import { createPrivateKey, X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";
import { stat } from "node:fs/promises";
import { createSecureContext, type SecureContext } from "node:tls";
import { domainToASCII } from "node:url";
import { type CertificateFiles, type Listener, type Logger, StartError } from "@millrace/service";

/**
 * Milliseconds between two looks at the files. They follow symbolic links, so that one that is swapped shows, wherever
 * in the path it stands; a file system's own notices come from one folder alone.
 */
const lookEvery = 1_000;
const oldestVersion = "TLSv1.2";

/** The certificates of one listener, as they are at the moment. */
export interface Certificates {
  /** The listener's own pair as it was at the start. */
  first: { cert: Buffer; key: Buffer };
  /** For the name a client asked for (SNI); the listener's own when it asked for none, or one that is not known. */
  contextFor(serverName?: string): SecureContext;
  /** Reads all files again. A pair that cannot be used is logged, and the one before it stays. */
  reload(): void;
  /** When each expires, in milliseconds since the epoch. */
  expiries(): { cert: string; at: number }[];
  close(): void;
}

interface Pair {
  cert: Buffer;
  key: Buffer;
  context: SecureContext;
  names: string;
  expires: number;
}

/**
 * Reads a listener's certificates and goes on watching their files.
 * @param changed told when the listener's own context is another
 * @throws StartError when one cannot be used
 */
export function openCertificates(
  { name, names }: Listener,
  certificate: CertificateFiles,
  log: Logger,
  changed: (own: SecureContext) => void,
): Certificates {
  const all: CertificateFiles[] = [certificate, ...names];
  const pairs = all.map((files) => {
    try {
      return load(files);
    } catch (error) {
      throw new StartError((error as Error).message);
    }
  });
  const report = ({ cert }: CertificateFiles, pair: Pair, text: string) => {
    const line = { listener: name, cert, names: pair.names, until: new Date(pair.expires).toISOString() };
    if (pair.expires < Date.now()) log.warn(line, "certificate has expired");
    else log.info(line, text);
  };
  for (const [i, files] of all.entries()) report(files, pairs[i] as Pair, "certificate loaded");

  const reload = () => {
    for (const [i, files] of all.entries()) {
      const before = pairs[i] as Pair;
      try {
        const pair = load(files);
        if (pair.cert.equals(before.cert) && pair.key.equals(before.key)) continue;
        pairs[i] = pair;
        if (i === 0) changed(pair.context);
        report(files, pair, "certificate loaded again");
      } catch (error) {
        log.warn({ listener: name, reason: (error as Error).message }, "kept the certificate from before");
      }
    }
  };
  const paths = [...new Set(all.flatMap(({ cert, key }) => [cert, key]))];
  let read = "";
  let seen = "";
  const look = async () => {
    const now = (await Promise.all(paths.map(stateOf))).join();
    if (closed) return;
    // Certificate and key are rarely written in one instant: what is read has stood still for one look.
    if (now !== read && now === seen) {
      read = now;
      reload();
    }
    seen = now;
    // One after the other: a file system that hangs must not collect them.
    looking = setTimeout(look, lookEvery).unref();
  };
  let looking = setTimeout(look, lookEvery).unref();
  let closed = false;

  const byName = new Map<string, number>();
  for (const [i, { serverNames }] of names.entries())
    for (const serverName of serverNames) byName.set(ascii(serverName), i + 1);
  const own = pairs[0] as Pair;

  return {
    first: { cert: own.cert, key: own.key },
    contextFor(serverName = "") {
      const asked = ascii(serverName);
      const found = byName.get(asked) ?? byName.get(asked.replace(/^[^.]+/, "*")) ?? 0;
      return (pairs[found] as Pair).context;
    },
    reload,
    expiries: () => all.map(({ cert }, i) => ({ cert, at: (pairs[i] as Pair).expires })),
    close() {
      closed = true;
      clearTimeout(looking);
    },
  };
}

/** What changes with a file; another one under its name is another inode. */
async function stateOf(path: string): Promise<string> {
  try {
    const { ino, size, mtimeNs, ctimeNs } = await stat(path, { bigint: true });
    return `${ino} ${size} ${mtimeNs} ${ctimeNs}`;
  } catch {
    return "gone";
  }
}

/** smtp-server passes names with U-labels, clients ask with A-labels, and people write either. */
function ascii(serverName: string): string {
  const wildcard = serverName.startsWith("*.");
  const name = wildcard ? serverName.slice(2) : serverName;
  const converted = (domainToASCII(name) || name).toLowerCase();
  return wildcard ? `*.${converted}` : converted;
}

/** @throws Error that names the files and the cure */
function load({ cert: certFile, key: keyFile, called }: CertificateFiles): Pair {
  const cert = readPem(certFile, called.cert);
  const key = readPem(keyFile, called.key);
  try {
    // The first of the chain is the server's own.
    const certificate = new X509Certificate(cert);
    if (!certificate.checkPrivateKey(createPrivateKey(key)))
      throw new Error("the key is another certificate's");
    return {
      cert,
      key,
      context: createSecureContext({ cert, key, minVersion: oldestVersion, honorCipherOrder: true }),
      names: certificate.subjectAltName ?? certificate.subject,
      expires: certificate.validToDate.getTime(),
    };
  } catch (error) {
    throw new Error(
      `${called.cert} and ${called.key} cannot be used (${(error as Error).message}): name a certificate chain and its own key, both PEM`,
    );
  }
}

function readPem(path: string, called: string): Buffer {
  try {
    return readFileSync(path);
  } catch (error) {
    throw new Error(`${called} cannot be read (${(error as Error).message}): name a PEM file`);
  }
}
