import assert from "node:assert/strict";
import { once } from "node:events";
import { cpSync, mkdtempSync, renameSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { type ConnectionOptions, connect, type TLSSocket } from "node:tls";
import { StartError } from "@millrace/service";
import { startRedis, type TestRedis } from "@millrace/test/redis";
import { SmtpDialogue } from "@millrace/test/smtp-dialogue";
import { until } from "@millrace/test/until";
import { makeCertificate } from "./testing/certificate.ts";
import { binaryHeader, ipv4Addresses } from "./testing/proxy-header.ts";
import { beginMessage, startTestEdge, type TestEdge, type TestEdgeOptions } from "./testing/test-edge.ts";

const mx = makeCertificate("mx.example.test");
const mx2 = makeCertificate("mx.example.test");
const other = makeCertificate("mail.example.net");
const wild = makeCertificate("*.example.org");
const called = { cert: "listeners[0].cert=cert.pem", key: "listeners[0].key=key.pem" };
const certificate = { cert: mx.cert, key: mx.key, called };

let redis: TestRedis;
before(async () => {
  redis = await startRedis();
});
after(() => redis?.stop());

async function edgeWith(
  t: { after(end: () => Promise<void>): void },
  options: TestEdgeOptions,
): Promise<TestEdge> {
  const edge = await startTestEdge(redis.url, options);
  t.after(() => edge.end());
  return edge;
}

/** Port of a listener, by its place. */
const portOf = (edge: TestEdge, i: number) => edge.edge.listening[i]?.port as number;

/** A dialogue in implicit TLS. */
async function dialogue(
  edge: TestEdge,
  i = 0,
  before: string | Buffer = "",
): Promise<[SmtpDialogue, TLSSocket]> {
  const client = await SmtpDialogue.connect(portOf(edge, i));
  await client.write(before);
  const socket = await client.secure();
  await client.expect("220 ");
  return [client, socket];
}

/** Names in the certificate that a new client is shown. */
async function shown(port: number, options: ConnectionOptions = {}): Promise<string> {
  const socket = connect({ port, host: "127.0.0.1", rejectUnauthorized: false, ...options });
  try {
    await once(socket, "secureConnect");
    const { subjectaltname, serialNumber } = socket.getPeerCertificate();
    return `${subjectaltname} ${serialNumber}`;
  } finally {
    socket.destroy();
  }
}

test("implicit TLS: the session is secure from its first octet, and no STARTTLS is offered", async (t) => {
  const edge = await edgeWith(t, { listeners: [{ tls: "implicit", certificate }] });
  const [client, socket] = await dialogue(edge);
  await client.send("EHLO client.example");
  assert.doesNotMatch(await client.expect("250"), /STARTTLS/);
  await beginMessage(client);
  await client.send("x", ".");
  const { manifest, field } = await edge.stored(await client.expect("250 2.0.0 "));
  assert.equal(manifest.envelope.protocol, "ESMTPS");
  assert.deepEqual(manifest.envelope.tls, { version: socket.getProtocol(), cipher: socket.getCipher().name });
  assert.match(field, /\swith ESMTPS\s+id /);
  client.destroy();
});

test("implicit TLS behind a proxy that passes it on: the header stands before the handshake", async (t) => {
  const proxies = ["127.0.0.1"];
  const edge = await edgeWith(t, { listeners: [{ tls: "implicit", certificate, proxies }] });
  const [client, socket] = await dialogue(edge, 0, binaryHeader(0x21, 0x11, ipv4Addresses));
  await client.send("EHLO client.example");
  await client.expect("250");
  await beginMessage(client);
  await client.send("x", ".");
  const { envelope } = (await edge.stored(await client.expect("250 2.0.0 "))).manifest;
  assert.deepEqual(envelope.client, { ip: "192.0.2.7", port: 4000 });
  assert.equal(envelope.tls?.cipher, socket.getCipher().name);
  client.destroy();
});

test("several listeners on one edge, each in its own way; all share SMTP_MAX_CLIENTS", async (t) => {
  const edge = await edgeWith(t, {
    env: { SMTP_MAX_CLIENTS: "3" },
    listeners: [{ tls: "off" }, { tls: "starttls", certificate }, { tls: "implicit", certificate }],
  });
  const plain = await SmtpDialogue.connect(portOf(edge, 0));
  await plain.expect("220 ");
  await plain.send("EHLO client.example", "STARTTLS");
  assert.doesNotMatch(await plain.expect("250"), /STARTTLS/);
  await plain.expect("500 5.5.2 ");
  const upgraded = await SmtpDialogue.connect(portOf(edge, 1));
  await upgraded.expect("220 ");
  await upgraded.send("EHLO client.example");
  assert.match(await upgraded.expect("250"), /\bSTARTTLS\b/);
  const [secure] = await dialogue(edge, 2);
  const fourth = await SmtpDialogue.connect(portOf(edge, 0));
  await fourth.expect("421 ");
  const { text } = await edge.edge.metrics();
  for (const [listener, count] of [
    ["listener-1", 1],
    ["listener-2", 1],
    ["listener-3", 1],
  ])
    assert.match(text, new RegExp(`connections\\{listener="${listener}"\\} ${count}`));
  for (const client of [plain, upgraded, secure, fourth]) client.destroy();
});

test("each name has its certificate; whoever asks for none, or another, has the listener's own", async (t) => {
  const edge = await edgeWith(t, {
    listeners: [
      {
        tls: "implicit",
        certificate,
        names: [
          { ...other, called, serverNames: ["mail.example.net", "bücher.example"] },
          { ...wild, called, serverNames: ["*.example.org"] },
        ],
      },
    ],
  });
  const port = portOf(edge, 0);
  const cases: [string | undefined, RegExp][] = [
    ["mail.example.net", /mail\.example\.net/],
    ["MAIL.example.NET", /mail\.example\.net/],
    ["xn--bcher-kva.example", /mail\.example\.net/],
    ["a.example.org", /\*\.example\.org/],
    ["a.b.example.org", /mx\.example\.test/],
    ["example.org", /mx\.example\.test/],
    ["elsewhere.example", /mx\.example\.test/],
    [undefined, /mx\.example\.test/],
  ];
  for (const [servername, names] of cases)
    assert.match(await shown(port, servername ? { servername } : {}), names, servername ?? "none");
  for (const servername of ["mail.example.net", "mx.example.test"]) {
    const old = { minVersion: "TLSv1", maxVersion: "TLSv1.1", ciphers: "DEFAULT@SECLEVEL=0" } as const;
    await assert.rejects(shown(port, { servername, ...old }), { code: /PROTOCOL_VERSION/ });
    await shown(port, { servername, maxVersion: "TLSv1.2" });
  }
});

describe("a handshake that comes to nothing", () => {
  test("ends in time; one line when the client said something, none when it did not", async (t) => {
    const edge = await edgeWith(t, {
      env: { SMTP_HANDSHAKE_TIMEOUT_SECONDS: "1" },
      listeners: [{ tls: "implicit", certificate }],
    });
    const silent = await SmtpDialogue.connect(edge.port);
    const gone = await SmtpDialogue.connect(edge.port);
    gone.destroy();
    const plain = await SmtpDialogue.connect(edge.port);
    await plain.send("EHLO client.example");
    // The beginning of a record that never goes on.
    const slow = await SmtpDialogue.connect(edge.port);
    await slow.write(Buffer.from([0x16, 3, 1, 2, 0, 1]));
    for (const client of [silent, plain, slow]) await client.expectClosed();
    const lines = () => edge.log.filter(({ msg }) => msg === "TLS handshake failed");
    await until(() => lines().length >= 2);
    assert.deepEqual(
      lines().map(({ peer }) => peer),
      ["127.0.0.1", "127.0.0.1"],
    );
    assert.match(JSON.stringify(lines()), /no TLS handshake within 1 s/);
    const info = edge.log.filter(
      ({ level, msg }) => Number(level) >= 30 && !/certificate|handshake|postmaster/.test(String(msg)),
    );
    assert.deepEqual(
      info.map(({ msg }) => msg),
      [],
    );
    const { text } = await edge.edge.metrics();
    assert.match(text, /arrival_failures_total\{listener="listener-1",what="tls",kind="handshake"\} 2/);
  });
});

describe("a renewed certificate", () => {
  const renewals: [string, (folder: string) => { cert: string; key: string; renew(): void }][] = [
    [
      "written over the old one",
      (folder) => {
        cpSync(mx.folder, folder, { recursive: true });
        return {
          cert: join(folder, "cert.pem"),
          key: join(folder, "key.pem"),
          renew: () => cpSync(mx2.folder, folder, { recursive: true }),
        };
      },
    ],
    [
      "behind a symbolic link, as certbot leaves it",
      (folder) => {
        const link = (from: { cert: string; key: string }) => {
          for (const file of ["cert", "key"] as const) {
            symlinkSync(from[file], join(folder, `${file}.new`));
            renameSync(join(folder, `${file}.new`), join(folder, `${file}.pem`));
          }
        };
        link(mx);
        return { cert: join(folder, "cert.pem"), key: join(folder, "key.pem"), renew: () => link(mx2) };
      },
    ],
    [
      "in a folder that is swapped, as Kubernetes does it",
      (folder) => {
        symlinkSync(mx.folder, join(folder, "..data"));
        for (const file of ["cert.pem", "key.pem"]) symlinkSync(join("..data", file), join(folder, file));
        return {
          cert: join(folder, "cert.pem"),
          key: join(folder, "key.pem"),
          renew() {
            symlinkSync(mx2.folder, join(folder, "..data.new"));
            renameSync(join(folder, "..data.new"), join(folder, "..data"));
          },
        };
      },
    ],
  ];
  for (const [how, prepare] of renewals) {
    test(`${how}: new sessions see it, and those under way go on`, async (t) => {
      const { renew, ...files } = prepare(mkdtempSync(join(tmpdir(), "millrace-renewal-")));
      const listeners = (["implicit", "starttls"] as const).map((tls) => ({
        tls,
        certificate: { ...files, called },
      }));
      const edge = await edgeWith(t, { listeners });
      const before = await shown(portOf(edge, 0));
      const [live] = await dialogue(edge);
      await live.send("EHLO client.example");
      await live.expect("250");
      await beginMessage(live);
      await live.send("before");
      renew();
      await until(async () => (await shown(portOf(edge, 0))) !== before);
      await live.send("after", ".");
      assert.equal((await edge.stored(await live.expect("250 2.0.0 "))).own, "before\r\nafter\r\n");
      live.destroy();

      const client = await SmtpDialogue.connect(portOf(edge, 1));
      await client.expect("220 ");
      await client.send("EHLO client.example", "STARTTLS");
      await client.expect("250");
      await client.expect("220 ");
      const socket = await client.secure();
      assert.ok((await shown(portOf(edge, 0))).endsWith(socket.getPeerCertificate().serialNumber));
      client.destroy();
    });
  }

  test("that cannot be used leaves the old one, and the log says why", async (t) => {
    const folder = mkdtempSync(join(tmpdir(), "millrace-renewal-"));
    cpSync(mx.folder, folder, { recursive: true });
    const files = { cert: join(folder, "cert.pem"), key: join(folder, "key.pem"), called };
    const edge = await edgeWith(t, { listeners: [{ tls: "implicit", certificate: files }] });
    const before = await shown(edge.port);
    const kept = () => edge.log.filter(({ msg }) => msg === "kept the certificate from before");
    const broken: [() => void, RegExp][] = [
      [() => cpSync(mx2.cert, files.cert), /the key is another certificate's/],
      [() => writeFileSync(files.cert, "-----BEGIN CERTIFICATE-----\n"), /cannot be used/],
    ];
    for (const [breakIt, reason] of broken) {
      const lines = kept().length;
      breakIt();
      await until(() => kept().length > lines);
      assert.match(String(kept().at(-1)?.reason), reason);
      assert.equal(await shown(edge.port), before);
    }
    cpSync(mx2.folder, folder, { recursive: true });
    await until(async () => (await shown(edge.port)) !== before);
  });
});

describe("a certificate that cannot be used stops the start:", () => {
  for (const [what, cert, key, reason] of [
    [
      "another's key",
      mx.cert,
      mx2.key,
      /^listeners\[0\]\.cert=.* \(the key is another certificate's\): name a certificate chain and its own key/,
    ],
    ["no certificate at all", mx.key, mx.key, /^listeners\[0\]\.cert=.* cannot be used/],
    [
      "no such file",
      `${mx.cert}.gone`,
      mx.key,
      /^listeners\[0\]\.cert=.* cannot be read \(ENOENT.*: name a PEM file/,
    ],
  ] as const) {
    test(what, async () => {
      const listeners = [
        { tls: "off" as const },
        { tls: "implicit" as const, certificate: { cert, key, called } },
      ];
      await assert.rejects(startTestEdge(redis.url, { listeners }), (error) => {
        return error instanceof StartError && reason.test(error.message);
      });
    });
  }
});

test("whoever can reach a listener past its proxy would count as secure: the log says so", async (t) => {
  const warnings = (edge: TestEdge) =>
    edge.log.filter(({ msg }) => String(msg).startsWith("every session counts"));
  const open = await edgeWith(t, { listeners: [{ tls: "proxy", host: "0.0.0.0" }] });
  assert.equal(warnings(open).length, 1);
  const listeners = [
    { tls: "proxy" as const },
    { tls: "proxy" as const, host: "0.0.0.0", proxies: ["10.0.0.0/8"] },
  ];
  assert.equal(warnings(await edgeWith(t, { listeners })).length, 0);
});
