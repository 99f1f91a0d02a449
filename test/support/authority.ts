import { execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/** Files of one certificate: alone, with its intermediate behind it as servers should send it, and its key. */
export interface IssuedCertificate {
  alone: string;
  chain: string;
  key: string;
  /** Chain and key in one, as HAProxy wants them. */
  both: string;
}

const curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];

/** An authority of a test's own: a root, and an intermediate that issues. */
export class Authority {
  readonly root: string;
  private readonly folder: string;

  constructor(folder: string) {
    this.folder = folder;
    this.root = join(folder, "root.pem");
    const subject = ["-days", "90", "-subj", "/CN=Test Root"];
    this.openssl("req", "-x509", ...curve, ...subject, "-keyout", this.file("root.key"), "-out", this.root);
    this.sign("Test Intermediate", "intermediate", "root", 90, "basicConstraints=critical,CA:TRUE");
  }

  /** @param days it is good for; below 0 it has expired so long ago */
  issue(name: string, days: number): IssuedCertificate {
    const base = `${name}${days}`;
    this.sign(name, base, "intermediate", days, `subjectAltName=DNS:${name}`);
    const [alone, key] = [this.file(`${base}.pem`), this.file(`${base}.key`)];
    const [chain, both] = [this.file(`${base}.chain.pem`), this.file(`${base}.both.pem`)];
    writeFileSync(chain, readFileSync(alone, "utf8") + readFileSync(this.file("intermediate.pem"), "utf8"));
    writeFileSync(both, readFileSync(chain, "utf8") + readFileSync(key, "utf8"));
    return { alone, chain, key, both };
  }

  private sign(name: string, base: string, by: string, days: number, extension: string): void {
    const request = this.file(`${base}.csr`);
    this.openssl(
      "req",
      ...curve,
      "-subj",
      `/CN=${name}`,
      "-keyout",
      this.file(`${base}.key`),
      "-out",
      request,
    );
    writeFileSync(this.file(`${base}.ext`), extension);
    const issuer = ["-CA", this.file(`${by}.pem`), "-CAkey", this.file(`${by}.key`), "-CAcreateserial"];
    const how = ["-extfile", this.file(`${base}.ext`), "-out", this.file(`${base}.pem`)];
    const words = ["x509", "-req", "-in", request, ...issuer, ...how, "-days"];
    // openssl makes no certificate that is over already, but by a clock that is slow.
    if (days > 0) this.openssl(...words, String(days));
    else
      execFileSync("faketime", ["-f", "-100d", "openssl", ...words, String(100 + days)], { stdio: "ignore" });
  }

  private file(name: string): string {
    return join(this.folder, name);
  }

  private openssl(...words: string[]): void {
    execFileSync("openssl", words, { stdio: "ignore" });
  }
}
