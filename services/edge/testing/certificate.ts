import { execFileSync } from "node:child_process";
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** Makes a certificate for these names, and its key, in a folder of its own: `cert.pem` and `key.pem`. */
export function makeCertificate(...names: [string, ...string[]]): {
  folder: string;
  cert: string;
  key: string;
} {
  const folder = mkdtempSync(join(tmpdir(), "millrace-certificate-"));
  const cert = join(folder, "cert.pem");
  const key = join(folder, "key.pem");
  execFileSync(
    "openssl",
    [
      ...[
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
        "30",
      ],
      ...[
        "-subj",
        `/CN=${names[0]}`,
        "-addext",
        `subjectAltName=${names.map((name) => `DNS:${name}`).join(",")}`,
      ],
      ...["-keyout", key, "-out", cert],
    ],
    { stdio: "ignore" },
  );
  return { folder, cert, key };
}
