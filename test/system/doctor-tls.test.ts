import assert from "node:assert/strict";
import { chmodSync, mkdtempSync, writeFileSync } from "node:fs";
import { rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { Authority } from "../support/authority.ts";
import { certificate } from "../support/certificate.ts";
import { diagnose } from "../support/doctor.ts";
import { freePort } from "../support/free-port.ts";
import { Installation } from "../support/millrace.ts";
import { startProxy } from "../support/proxy-process.ts";
import { haproxyDefaults } from "../support/small-proxies.ts";

const name = "mx.example.test";
const servername = ["--servername", name];

describe("millrace doctor before edges and proxies whose TLS is right or wrong", () => {
  const folder = mkdtempSync(join(tmpdir(), "millrace-doctor-"));
  chmodSync(folder, 0o755);
  const authority = new Authority(folder);
  const good = authority.issue(name, 60);
  const [expired, soon, other] = [
    authority.issue(name, -3),
    authority.issue(name, 5),
    authority.issue("old.example.test", 60),
  ];
  const pairs: Record<string, { cert: string; key: string }> = {
    good: { cert: good.chain, key: good.key },
    "no-intermediate": { cert: good.alone, key: good.key },
    expired: { cert: expired.chain, key: expired.key },
    "soon-over": { cert: soon.chain, key: soon.key },
    "other-name": { cert: other.chain, key: other.key },
    "self-signed": certificate(folder, "self-signed.example.test"),
  };
  const ca = ["--ca", authority.root];
  const ports: Record<string, number> = {};
  let millrace: Installation;

  before(async () => {
    for (const each of [...Object.keys(pairs), "starttls", "plain", "behind"]) ports[each] = await freePort();
    millrace = new Installation({
      config: {
        hostname: name,
        routes: [{ recipients: ["*@example.com"], to: { maildir: "./mail" } }],
        listeners: [
          ...Object.entries(pairs).map(([kind, { cert, key }]) => ({
            name: kind,
            port: ports[kind],
            tls: "implicit",
            cert,
            key,
          })),
          {
            ...{ name: "starttls", port: ports.starttls, tls: "starttls", ...pairs.good },
            names: [{ serverNames: ["*.example.net"], ...pairs["other-name"] }],
          },
          { name: "plain", port: ports.plain },
          { name: "behind", port: ports.behind, tls: "proxy", proxyProtocol: { from: "127.0.0.1" } },
        ],
      },
      env: { SMTP_ENABLE_AUTH: "true" },
    });
    await millrace.up();
  });
  after(async () => {
    await millrace?.remove();
    await rm(folder, { recursive: true, force: true });
  });

  const examine = (kind: string, ...words: string[]) =>
    diagnose(millrace, [`127.0.0.1:${ports[kind]}`, ...servername, ...words]);

  for (const [kind, tls] of [
    ["good", "implicit"],
    ["starttls", "starttls"],
  ] as const) {
    test(`${tls}, with its whole chain: nothing is wrong`, async () => {
      const { failed, of } = await examine(kind, "--tls", tls, ...ca);
      assert.deepEqual(failed, []);
      assert.match(of("tls").seen, tls === "implicit" ? /^implicit: TLSv1\.3/ : /^STARTTLS: TLSv1\.3/);
      assert.match(of("certificate chain").seen, /^mx\.example\.test ← Test Intermediate ← Test Root$/);
      assert.equal(of("certificate name").status, "ok");
      assert.equal(of("certificate days").figures?.daysLeft, 59);
      assert.equal(of("tls versions").seen, "takes TLS 1.2, TLS 1.3; refuses 1.0 and 1.1");
      assert.match(of("auth").seen, /PLAIN LOGIN, in secure sessions alone/);
    });
  }

  test("trouble 2, an intermediate that is missing: named, with the file that has it", async () => {
    const { failed, of } = await examine("no-intermediate", "--tls", "implicit", ...ca);
    assert.deepEqual(failed, ["certificate chain"]);
    assert.match(
      of("certificate chain").seen,
      /issuer, Test Intermediate, was not sent: an intermediate is missing/,
    );
    assert.match(of("certificate chain").cure ?? "", /fullchain\.pem/);
    assert.equal(of("certificate name").status, "ok");
  });

  test("trouble 2, a certificate that has expired: the chain is told apart from the date", async () => {
    const { failed, of } = await examine("expired", "--tls", "implicit", ...ca);
    assert.deepEqual(failed, ["certificate days"]);
    assert.match(of("certificate days").seen, /mx\.example\.test expired on \d{4}-\d\d-\d\d/);
    assert.match(of("certificate days").cure ?? "", /certbot renew/);
    assert.equal(of("certificate chain").status, "ok");
  });

  test("one that will expire soon is worth a warning", async () => {
    const { failed, of } = await examine("soon-over", "--tls", "implicit", ...ca);
    assert.deepEqual(failed, []);
    assert.equal(of("certificate days").status, "warning");
    assert.equal(of("certificate days").figures?.daysLeft, 4);
  });

  test("trouble 2, a certificate for another name", async () => {
    const { failed, of } = await examine("other-name", "--tls", "implicit", ...ca);
    assert.deepEqual(failed, ["certificate name"]);
    assert.match(
      of("certificate name").seen,
      /mx\.example\.test is not one of its names: old\.example\.test/,
    );
  });

  test("trouble 2, self-signed; and an authority nobody knows", async () => {
    const { failed, of } = await diagnose(millrace, [
      `127.0.0.1:${ports["self-signed"]}`,
      "--tls",
      "implicit",
      "--servername",
      "self-signed.example.test",
    ]);
    assert.deepEqual(failed, ["certificate chain"]);
    assert.match(of("certificate chain").seen, /self-signed/);
    const unknown = await examine("good", "--tls", "implicit");
    assert.deepEqual(unknown.failed, ["certificate chain"]);
    assert.match(unknown.of("certificate chain").cure ?? "", /--ca <file>/);
  });

  test("by its address alone the name cannot be judged", async () => {
    const { of } = await diagnose(millrace, [`127.0.0.1:${ports.good}`, "--tls", "implicit", ...ca]);
    assert.equal(of("certificate name").status, "skipped");
  });

  test("TLS of the other kind than expected is found out, either way, and by itself where nothing is expected", async () => {
    const implicit = await examine("good", "--tls", "starttls", ...ca);
    assert.deepEqual(implicit.failed, ["greeting"]);
    assert.match(
      implicit.of("greeting").seen,
      /answers a TLS handshake: this port speaks TLS from the first octet/,
    );
    assert.match(implicit.of("greeting").cure ?? "", /never `ssl` on 587/);
    const starttls = await examine("starttls", "--tls", "implicit", ...ca);
    assert.deepEqual(starttls.failed, ["greeting"]);
    assert.match(starttls.of("greeting").seen, /It greets in the clear/);
    const any = await examine("good", ...ca);
    assert.deepEqual(any.failed, []);
    assert.match(any.of("tls").seen, /^implicit/);
  });

  test("an installation knows what its listeners are for, and looks at the certificates of all names", async () => {
    const { status, findings, of } = await diagnose(millrace, ca);
    assert.equal(status, 1);
    const bad = findings
      .filter(({ status }) => status === "failure")
      .map(({ check, seen }) => `${check}: ${seen}`);
    const wanted = [
      /^certificate chain: mx\.example\.test: .*intermediate is missing/,
      /^certificate days: mx\.example\.test expired/,
      /^certificate name: mx\.example\.test is not one of its names: old\.example\.test/,
      /^certificate chain: self-signed\.example\.test: self-signed/,
      /^certificate name: mx\.example\.test is not one of its names: self-signed\.example\.test/,
      /^certificate name: .*: any\.example\.net is not one of its names: old\.example\.test/,
    ];
    assert.equal(bad.length, wanted.length, bad.join("\n"));
    assert.match(of("tls", "(good").seen, /^implicit/);
    for (const [i, each] of wanted.entries()) assert.match(bad[i] as string, each);
  });

  test("no STARTTLS where it should be", async () => {
    const { failed, of } = await examine("plain", "--tls", "starttls");
    assert.deepEqual(failed, ["tls"]);
    assert.match(of("tls").seen, /not offered/);
    assert.deepEqual((await examine("plain", "--tls", "off")).failed, []);
  });

  test("a proxy that still takes TLS 1.0, and one that takes 1.3 alone", async () => {
    const [old, new_] = [await freePort(), await freePort()];
    const file = join(folder, "versions.cfg");
    writeFileSync(
      file,
      `${haproxyDefaults}    default_backend edge
frontend old
    bind 127.0.0.1:${old} ssl crt ${good.both} ssl-min-ver TLSv1.0 ciphers DEFAULT@SECLEVEL=0
frontend new
    bind 127.0.0.1:${new_} ssl crt ${good.both} ssl-min-ver TLSv1.3
backend edge
    server edge 127.0.0.1:${ports.behind} send-proxy-v2
`,
    );
    const { stop } = await startProxy(["haproxy", "-db", "-f", file], [old, new_]);
    try {
      const words = [...servername, ...ca, "--tls", "implicit"];
      const { failed, of } = await diagnose(millrace, [`127.0.0.1:${old}`, ...words]);
      assert.deepEqual(failed, ["tls versions"]);
      assert.match(of("tls versions").seen, /takes TLS 1\.0, TLS 1\.1, TLS 1\.2, TLS 1\.3/);
      const modern = await diagnose(millrace, [`127.0.0.1:${new_}`, ...words]);
      assert.deepEqual(modern.failed, []);
      assert.match(modern.of("tls versions").seen, /^takes TLS 1\.3$/);
    } finally {
      await stop();
    }
  });
});
