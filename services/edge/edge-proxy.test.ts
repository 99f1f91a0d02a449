import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { after, before, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { startRedis, type TestRedis } from "@millrace/test/redis";
import { SmtpDialogue } from "@millrace/test/smtp-dialogue";
import { until } from "@millrace/test/until";
import { binaryHeader, ipv4Addresses, tlsTlv, tlv, types } from "./testing/proxy-header.ts";
import { beginMessage, startTestEdge, type TestEdge } from "./testing/test-edge.ts";

const tls13 = [tlv(types.version, "TLSv1.3"), tlv(types.cipher, "TLS_AES_256_GCM_SHA384")];
const overTls = binaryHeader(
  0x21,
  0x11,
  ipv4Addresses,
  tlsTlv(7, 0, ...tls13, tlv(types.clientName, "app-1")),
);
const overNothing = binaryHeader(0x21, 0x11, ipv4Addresses, tlsTlv(0, 0));
const local = binaryHeader(0x20, 0x00);
const line = "PROXY TCP4 192.0.2.7 198.51.100.1 4000 25\r\n";

let redis: TestRedis;
let edge: TestEdge;
before(async () => {
  redis = await startRedis();
  edge = await startTestEdge(redis.url, {
    env: {
      SMTP_PROXY_PROTOCOL_FROM: "127.0.0.0/30, ::1",
      SMTP_HANDSHAKE_TIMEOUT_SECONDS: "1",
      SMTP_MAX_CLIENTS: "3",
    },
  });
});
after(async () => {
  await edge?.end();
  await redis?.stop();
});

/** A connection that begins with these octets. */
async function proxied(header: string | Buffer, port = edge.port): Promise<SmtpDialogue> {
  const client = await SmtpDialogue.connect(port);
  await client.write(header);
  return client;
}

async function accepted(client: SmtpDialogue) {
  await client.expect("220 ");
  await client.send("EHLO client.example");
  await client.expect("250");
  await beginMessage(client);
  await client.send("x", ".");
  const stored = await edge.stored(await client.expect("250 2.0.0 "));
  client.destroy();
  return stored;
}

const refusals = () => edge.log.filter(({ msg }) => msg === "PROXY header refused");
const infoLines = () => edge.log.filter(({ level }) => (level as number) >= 30);

describe("the client's address, and no longer the proxy's", () => {
  test("is what version 1 says: in the envelope, the Received field and the log", async () => {
    const { manifest, field } = await accepted(await proxied(line));
    assert.deepEqual(manifest.envelope.client, { ip: "192.0.2.7", port: 4000 });
    assert.deepEqual([manifest.envelope.protocol, manifest.envelope.tls], ["ESMTP", null]);
    assert.match(field, /^Received: from client\.example \(\[192\.0\.2\.7\]\) by mx/);
    const line1 = edge.log.find(({ msg, message }) => msg === "accepted" && message === manifest.id);
    assert.equal(line1?.client, "192.0.2.7");
  });

  test("is what version 2 says, with the TLS that the proxy has ended", async () => {
    const { manifest, field } = await accepted(await proxied(overTls));
    const { client, protocol, tls } = manifest.envelope;
    assert.deepEqual(client, { ip: "192.0.2.7", port: 4000 });
    assert.deepEqual(tls, { version: "TLSv1.3", cipher: "TLS_AES_256_GCM_SHA384", clientName: "app-1" });
    assert.equal(protocol, "ESMTPS");
    assert.match(field, /\swith ESMTPS\s+id /);
  });

  test("is written as IPv6 where it is one", async () => {
    const client = await proxied("PROXY TCP6 2001:db8::7 2001:db8::1 4000 25\r\n");
    const { manifest, field } = await accepted(client);
    assert.equal(manifest.envelope.client.ip, "2001:db8::7");
    assert.match(field, /\(\[IPv6:2001:db8::7\]\)/);
  });

  test("is that of IPv4 where an IPv6 address stands for one", async () => {
    const client = await proxied("PROXY TCP6 ::ffff:c000:207 2001:db8::1 4000 25\r\n");
    assert.equal((await accepted(client)).manifest.envelope.client.ip, "192.0.2.7");
  });

  test("is the proxy's where that does not say, as with UNKNOWN and LOCAL", async () => {
    for (const header of ["PROXY UNKNOWN\r\n", local, binaryHeader(0x21, 0x00)]) {
      const { manifest } = await accepted(await proxied(header));
      assert.equal(manifest.envelope.client.ip, "127.0.0.1");
    }
  });

  test("also when the header arrives octet by octet", async () => {
    const client = await SmtpDialogue.connect(edge.port);
    for (const octet of overTls) await client.write(Buffer.from([octet]));
    assert.equal((await accepted(client)).manifest.envelope.client.ip, "192.0.2.7");
  });
});

test("a client that talks before the greeting, in one piece with the header, is turned away", async () => {
  const client = await proxied(`${line}EHLO early.example\r\n`);
  await client.expect("421 4.7.0 ");
  await client.expectClosed();
});

describe("refused with one line that says what, and from whom:", () => {
  const cases: [string, string | Buffer, RegExp][] = [
    ["no header", "EHLO client.example\r\n", /^no PROXY header, but "EHLO client\.exam"$/],
    ["a malformed one", "PROXY TCP4 192.0.2.7 198.51.100.1 99999 25\r\n", /99999 for a port/],
    ["an oversized one", `PROXY ${"x".repeat(2_000)}`, /does not end within 107 octets/],
    ["an oversized one of version 2", binaryHeader(0x21, 0x11, Buffer.alloc(60_000)), /60016 octets, more/],
    ["a slow one", "PROXY TCP4 192", /^no whole PROXY header within 1 s \(14 octets came\)/],
  ];
  for (const [what, octets, reason] of cases) {
    test(what, async () => {
      const before = refusals().length;
      const client = await proxied(octets);
      assert.equal(await client.expectClosed(), "");
      await until(() => refusals().length > before);
      const [refusal, ...more] = refusals().slice(before);
      assert.deepEqual(more, []);
      assert.match(String(refusal?.reason), reason);
      assert.deepEqual([refusal?.peer, refusal?.listener], ["127.0.0.1", "smtp"]);
    });
  }

  test("one whose sender leaves in the middle", async () => {
    const before = refusals().length;
    const client = await proxied(overTls.subarray(0, 20));
    client.destroy();
    await until(() => refusals().length > before);
    assert.match(String(refusals()[before]?.reason), /^closed after 20 octets/);
  });

  test("a trickle of octets, which does not extend the time", async () => {
    const client = await SmtpDialogue.connect(edge.port);
    const started = performance.now();
    for (const octet of Buffer.from(line)) {
      if (client.isClosed) break;
      await client.write(Buffer.from([octet]));
      await sleep(100);
    }
    assert.equal(await client.expectClosed(), "");
    assert.ok(performance.now() - started < 10_000);
  });

  test("a peer that is no proxy of ours, with a header and without", async (t) => {
    const stranger = await startTestEdge(redis.url, { env: { SMTP_PROXY_PROTOCOL_FROM: "192.0.2.0/24" } });
    t.after(() => stranger.end());
    for (const octets of [line, "EHLO client.example\r\n", ""]) {
      const client = await proxied(octets, stranger.port);
      assert.equal(await client.expectClosed(), "");
    }
    await until(() => stranger.log.filter(({ msg }) => msg === "PROXY header refused").length === 3);
  });
});

describe("a health check", () => {
  test("that says nothing, or only QUIT, or is the proxy's own, leaves no line", async () => {
    const before = infoLines().length;
    (await SmtpDialogue.connect(edge.port)).destroy();
    const silent = await proxied(line);
    await silent.expect("220 ");
    silent.destroy();
    const polite = await proxied("PROXY UNKNOWN\r\n");
    await polite.expect("220 ");
    await polite.send("QUIT");
    await polite.expect("221 ");
    await polite.expectClosed();
    const own = await proxied(local);
    await own.expect("220 ");
    await own.send("EHLO hc.invalid", "QUIT");
    await own.expect("250");
    await own.expect("221 ");
    await own.expectClosed();
    const probes = async () =>
      /probes_total\{listener="smtp"\} (\d+)/.exec((await edge.edge.metrics()).text)?.[1];
    const deadline = Date.now() + 10_000;
    while (Number(await probes()) < 3 && Date.now() < deadline) await sleep(20);
    assert.deepEqual(infoLines().slice(before), []);
  });

  test("that is reset before it is taken leaves no line", async () => {
    const before = infoLines().length;
    // The edge runs in this process, and takes nobody in while it waits for another one.
    const resetAtOnce = `require("net").connect(${edge.port}, "127.0.0.1", function () { this.resetAndDestroy(); })`;
    execFileSync(process.execPath, ["-e", resetAtOnce]);
    const later = await proxied(line);
    await later.expect("220 ");
    later.destroy();
    assert.deepEqual(infoLines().slice(before), []);
  });

  test("of the proxy's own takes no client's place", async () => {
    const held = [];
    for (let i = 0; i < 5; i++) {
      const check = await proxied(local);
      await check.expect("220 ");
      held.push(check);
    }
    for (let i = 0; i < 3; i++) {
      const client = await proxied(line);
      await client.expect("220 ");
      held.push(client);
    }
    const one = await proxied(line);
    await one.expect("421 ");
    const check = await proxied(local);
    await check.expect("220 ");
    for (const client of [...held, one, check]) client.destroy();
  });
});

describe("whether a session counts as secure", () => {
  const features = async (listener: object, header?: string | Buffer) => {
    const one = await startTestEdge(redis.url, { listeners: [listener] });
    try {
      const client = await proxied(header ?? "", one.port);
      await client.expect("220 ");
      await client.send("EHLO client.example");
      await client.expect("250");
      await beginMessage(client);
      await client.send("x", ".");
      const { envelope } = (await one.stored(await client.expect("250 2.0.0 "))).manifest;
      client.destroy();
      return [envelope.protocol, envelope.tls?.version ?? null];
    } finally {
      await one.end();
    }
  };
  const proxies = ["127.0.0.1"];

  test("behind a proxy that ends TLS it does, whatever that tells of it", async () => {
    assert.deepEqual(await features({ tls: "proxy" }), ["ESMTPS", "unknown"]);
    assert.deepEqual(await features({ tls: "proxy", proxies }, line), ["ESMTPS", "unknown"]);
    assert.deepEqual(await features({ tls: "proxy", proxies }, overTls), ["ESMTPS", "TLSv1.3"]);
  });

  test("not so when the proxy says that its client came in the clear", async () => {
    assert.deepEqual(await features({ tls: "proxy", proxies }, overNothing), ["ESMTP", null]);
  });

  test("without one it does not, unless the proxy says so", async () => {
    assert.deepEqual(await features({ tls: "off", proxies }, line), ["ESMTP", null]);
    assert.deepEqual(await features({ tls: "off", proxies }, overTls), ["ESMTPS", "TLSv1.3"]);
  });
});
