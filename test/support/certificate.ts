import { execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/** A certificate and its key in one file each, and both in one as HAProxy wants them. */
export function certificate(folder: string, name: string): { cert: string; key: string; both: string } {
  const [cert, key, both] = ["cert", "key", "both"].map((each) => join(folder, `${name}.${each}.pem`)) as [
    string,
    string,
    string,
  ];
  const words = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
  const subject = ["-days", "30", "-subj", `/CN=${name}`, "-addext", `subjectAltName=DNS:${name}`];
  execFileSync("openssl", [...words, ...subject, "-keyout", key, "-out", cert], { stdio: "ignore" });
  writeFileSync(both, readFileSync(cert, "utf8") + readFileSync(key, "utf8"));
  return { cert, key, both };
}
