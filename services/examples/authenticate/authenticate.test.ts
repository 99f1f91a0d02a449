import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { after, before, describe, test } from "node:test";
import { freePort } from "@millrace/test/free-port";
import { authenticate, dkimSign } from "mailauth";
import { type Program, startProgram } from "../testing/program.ts";
import { Running } from "../testing/running.ts";
import { askNameServers } from "./name-servers.ts";

const keys = generateKeyPairSync("rsa", { modulusLength: 2048 });
const privateKey = keys.privateKey.export({ type: "pkcs8", format: "pem" }).toString();
const publicKey = keys.publicKey.export({ type: "spki", format: "der" }).toString("base64");

/** A name server with the records of three domains; of a fourth it knows only that another server does not answer. */
async function startNameServer(port: number, silent: number): Promise<Program> {
  // A text of DNS has at most 255 octets; a record may have several of them.
  const texts = (value: string) => (value.match(/.{1,250}/g) ?? []).join(",");
  const record = (name: string, value: string) => `--txt-record=${name},${texts(value)}`;
  const key = `v=DKIM1; k=rsa; p=${publicKey}`;
  const resolver = askNameServers([`127.0.0.1:${port}`], 1);
  return startProgram(
    [
      "dnsmasq",
      "--keep-in-foreground",
      "--conf-file=/dev/null",
      "--no-resolv",
      "--no-hosts",
      "--user=",
      "--pid-file=",
      "--bind-interfaces",
      "--listen-address=127.0.0.1",
      `--port=${port}`,
      "--local=/test/",
      `--server=/broken.test/127.0.0.1#${silent}`,
      record("good.test", "v=spf1 ip4:127.0.0.1 -all"),
      record("k1._domainkey.good.test", key),
      record("_dmarc.good.test", "v=DMARC1; p=reject"),
      record("bad.test", "v=spf1 ip4:192.0.2.1 -all"),
      record("k1._domainkey.bad.test", key),
      record("_dmarc.bad.test", "v=DMARC1; p=quarantine"),
      record("k1._domainkey.relay.test", key),
    ],
    () =>
      resolver("good.test", "TXT").then(
        () => true,
        () => false,
      ),
  );
}

function mail(from: string, to: string, extra: string[] = []): string {
  return [
    ...extra,
    `From: Somebody <${from}>`,
    `To: <${to}>`,
    "Subject: About the mill",
    `Date: ${new Date().toUTCString()}`,
    `Message-ID: <${to}>`,
    "",
    "The wheel turns.",
    "",
  ].join("\r\n");
}

async function signed(domain: string, text: string): Promise<string> {
  const key = { signingDomain: domain, selector: "k1", privateKey };
  const { signatures } = await dkimSign(text, { ...key, signatureData: [key] });
  assert.match(signatures, /^DKIM-Signature:/);
  return signatures + text;
}

/** The Authentication-Results fields of a mail, unfolded, in their order. */
function results(delivered: string): string[] {
  const header = delivered.slice(0, delivered.indexOf("\r\n\r\n")).replace(/\r\n(?=[ \t])/g, "");
  return [...header.matchAll(/^Authentication-Results: *(.*)$/gim)].map(([, value]) => value as string);
}

describe("authenticate", () => {
  let names: Program;
  let running: Running;
  before(async () => {
    const port = await freePort();
    names = await startNameServer(port, await freePort());
    running = new Running({
      hostname: "mx.mill.test",
      delivery: { after: "message.cleared" },
      workers: {
        authenticate: { authservId: "mx.mill.test", nameServers: [`127.0.0.1:${port}`], dnsSeconds: 0.5 },
      },
    });
    await running.start("authenticate/authenticate.ts");
  });
  after(async () => {
    await running?.stop();
    await names?.stop();
  });

  /** Sends a mail and gives back what was delivered. */
  async function passed(from: string, to: string, text: string): Promise<string> {
    await running.send({ from, to: [to], raw: Buffer.from(text) });
    return running.delivered(to);
  }

  test("mail that is what it says passes SPF, DKIM and DMARC, and its octets stay as they were", async () => {
    const text = await signed("good.test", mail("ann@good.test", "pass@mill.test"));
    const delivered = await passed("ann@good.test", "pass@mill.test", text);
    const [ours, ...others] = results(delivered);
    assert.deepEqual(others, []);
    assert.match(ours ?? "", /^mx\.mill\.test; /);
    assert.match(ours ?? "", /\bdkim=pass\b.*header\.d=good\.test/);
    assert.match(ours ?? "", /\bspf=pass\b.*smtp\.mailfrom=good\.test/);
    assert.match(ours ?? "", /\bdmarc=pass\b.*header\.from=good\.test/);
    assert.match(delivered, /^Return-Path: .*\r\nDelivered-To: .*\r\nAuthentication-Results:/);
    assert.ok(delivered.endsWith(text), "the mail itself has not changed");
  });

  test("a changed body, a server that may not send and a policy that minds: fail, fail, fail", async () => {
    const text = (await signed("bad.test", mail("ann@bad.test", "fail@mill.test"))).replace(
      "turns",
      "stands",
    );
    const [ours = ""] = results(await passed("ann@bad.test", "fail@mill.test", text));
    for (const check of ["dkim", "spf", "dmarc"]) assert.match(ours, new RegExp(`\\b${check}=fail\\b`));
  });

  test("a domain without a record has none", async () => {
    const [ours = ""] = results(
      await passed("ann@none.test", "none@mill.test", mail("ann@none.test", "none@mill.test")),
    );
    for (const check of ["dkim", "spf", "dmarc"]) assert.match(ours, new RegExp(`\\b${check}=none\\b`));
  });

  test("a name server that does not answer is a temporary error, and the mail goes on", async () => {
    const text = await signed("broken.test", mail("ann@broken.test", "broken@mill.test"));
    const [ours = ""] = results(await passed("ann@broken.test", "broken@mill.test", text));
    for (const check of ["dkim", "spf", "dmarc"]) assert.match(ours, new RegExp(`\\b${check}=temperror\\b`));
  });

  test("a chain that a relay has sealed passes ARC", async () => {
    const original = await signed("good.test", mail("ann@good.test", "arc@mill.test"));
    const { headers } = await authenticate(original, {
      mta: "relay.test",
      resolver: async () => {
        throw Object.assign(new Error("not asked"), { code: "ENOTFOUND" });
      },
      seal: { signingDomain: "relay.test", selector: "k1", privateKey },
    });
    const delivered = await passed("list@none.test", "arc@mill.test", headers + original);
    const [ours = "", theirs = ""] = results(delivered);
    assert.match(ours, /^mx\.mill\.test; .*\barc=pass\b/);
    assert.match(theirs, /^relay\.test;/);
  });

  test("a field that claims our name is left out, whoever sent it; those of others stay", async () => {
    const forged = [
      "Authentication-Results: mx.mill.test; dmarc=pass header.from=bank.test",
      "authentication-results : (trust me)\r\n\tMX.mill.test. 1;\r\n dkim=pass header.d=bank.test",
      "Authentication-Results: mx.other.test; spf=pass",
    ];
    const text = mail("ann@none.test", "forged@mill.test", forged);
    const delivered = await passed("ann@none.test", "forged@mill.test", text);
    const [ours, ...others] = results(delivered);
    assert.match(ours ?? "", /^mx\.mill\.test; .*\bdmarc=none\b/);
    assert.deepEqual(others, ["mx.other.test; spf=pass"]);
    assert.doesNotMatch(delivered, /bank\.test/);
  });

  test("the stored original is as it came, and the audit holds", async () => {
    const { stdout } = await running.millrace.run(["messages", "list", "--json"]);
    const [forged] = (JSON.parse(stdout.toString()) as { id: string; to: string[] }[]).filter(({ to }) =>
      to.includes("forged@mill.test"),
    );
    const raw = (await running.millrace.run(["messages", "raw", String(forged?.id), "--original"])).stdout;
    assert.match(raw.toString(), /^Authentication-Results: mx\.mill\.test; dmarc=pass/);
    const report = await running.millrace.json<{ holds: boolean }>("audit", "--blobs", "content");
    assert.equal(report.holds, true);
  });
});
