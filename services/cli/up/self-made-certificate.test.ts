import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { selfMadeCertificate } from "./self-made-certificate.ts";

const folder = mkdtempSync(join(tmpdir(), "millrace-self-made-"));
after(() => rmSync(folder, { recursive: true }));
const [cert, key] = [join(folder, "proxy/cert.pem"), join(folder, "proxy/key.pem")];
const say = () => {};

function serial(): string {
  return new X509Certificate(readFileSync(cert)).serialNumber;
}

test("it is for the host's name and this machine, and its key for its owner alone", () => {
  selfMadeCertificate(cert, key, "mx.example.test", say);
  const certificate = new X509Certificate(readFileSync(cert));
  for (const name of ["mx.example.test", "localhost"]) assert.ok(certificate.checkHost(name), name);
  assert.ok(certificate.checkIP("127.0.0.1"));
  assert.equal(statSync(key).mode & 0o077, 0);
  assert.equal(statSync(join(folder, "proxy")).mode & 0o077, 0);
});

test("it is made once, and anew for another name or when its key is not its own", () => {
  const first = serial();
  selfMadeCertificate(cert, key, "mx.example.test", say);
  assert.equal(serial(), first);
  selfMadeCertificate(cert, key, "other.example.test", say);
  const second = serial();
  assert.notEqual(second, first);
  writeFileSync(key, "no key");
  selfMadeCertificate(cert, key, "other.example.test", say);
  assert.notEqual(serial(), second);
});

test("a name that cannot stand in a certificate is named, with what to do", () => {
  assert.throws(
    () => selfMadeCertificate(cert, key, "ü,,", say),
    /openssl cannot make a certificate for hostname ü,, \(.+\): correct hostname, or name a certificate of your own with --cert/,
  );
});
