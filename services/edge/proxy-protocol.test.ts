import assert from "node:assert/strict";
import { test } from "node:test";
import { type ProxyHeader, ProxyHeaderError, readProxyHeader } from "./proxy-protocol.ts";
import { binaryHeader, ipv4Addresses, tlsTlv, tlv, types } from "./testing/proxy-header.ts";

const source = { ip: "192.0.2.7", port: 4000 };
const destination = { ip: "198.51.100.1", port: 25 };
const line = (text: string) => Buffer.from(`${text}\r\n`, "latin1");
const tls13 = [tlv(types.version, "TLSv1.3"), tlv(types.cipher, "TLS_AES_256_GCM_SHA384")];
const tls = { version: "TLSv1.3", cipher: "TLS_AES_256_GCM_SHA384" };
const ipv6 = (last: number) => [0x20, 1, 0x0d, 0xb8, ...Array(11).fill(0), last];
const mapped = [...Array(10).fill(0), 0xff, 0xff, 192, 0, 2, 7];

const one = { version: 1, local: false, tls: undefined } as const;
const two = { version: 2, local: false, tls: undefined } as const;
const nobody = { source: undefined, destination: undefined };

const good: [string, Buffer, ProxyHeader][] = [
  ["TCP4", line("PROXY TCP4 192.0.2.7 198.51.100.1 4000 25"), { ...one, source, destination }],
  [
    "TCP6, written in full",
    line("PROXY TCP6 2001:0DB8:0:0:0:0:0:7 2001:db8::1 4000 25"),
    { ...one, source: { ip: "2001:db8::7", port: 4000 }, destination: { ip: "2001:db8::1", port: 25 } },
  ],
  [
    "TCP6 that stands for IPv4",
    line("PROXY TCP6 ::ffff:192.0.2.7 ::ffff:c633:6401 4000 25"),
    { ...one, source, destination },
  ],
  [
    "the longest ports",
    line("PROXY TCP4 192.0.2.7 198.51.100.1 65535 0"),
    { ...one, source: { ip: "192.0.2.7", port: 65_535 }, destination: { ip: "198.51.100.1", port: 0 } },
  ],
  ["UNKNOWN", line("PROXY UNKNOWN"), { ...one, ...nobody }],
  [
    "UNKNOWN of 107 octets, with what is to be ignored",
    line(`PROXY UNKNOWN ${"f".repeat(91)}`),
    { ...one, ...nobody },
  ],
  ["version 2 over IPv4", binaryHeader(0x21, 0x11, ipv4Addresses), { ...two, source, destination }],
  [
    "version 2 over IPv6",
    binaryHeader(0x21, 0x21, ipv6(7), ipv6(1), [0x0f, 0xa0, 0, 25]),
    { ...two, source: { ip: "2001:db8::7", port: 4000 }, destination: { ip: "2001:db8::1", port: 25 } },
  ],
  [
    "version 2 over IPv6 that stands for IPv4",
    binaryHeader(0x21, 0x21, mapped, mapped, [0x0f, 0xa0, 0, 25]),
    { ...two, source, destination: { ip: "192.0.2.7", port: 25 } },
  ],
  ["version 2 without addresses", binaryHeader(0x21, 0x00), { ...two, ...nobody }],
  ["version 2 over a unix socket", binaryHeader(0x21, 0x31, Buffer.alloc(216, 0x61)), { ...two, ...nobody }],
  ["LOCAL", binaryHeader(0x20, 0x00), { ...two, local: true, ...nobody }],
  [
    "LOCAL with content, all of which is to be skipped",
    binaryHeader(0x20, 0x77, [1, 2, 3], tlsTlv(1, 0, ...tls13)),
    { ...two, local: true, ...nobody },
  ],
  [
    "TLVs that say nothing to us",
    binaryHeader(0x21, 0x11, ipv4Addresses, tlv(types.alpn, "smtp"), tlv(types.noop, ""), tlv(0xe0, "own")),
    { ...two, source, destination },
  ],
  [
    "TLS",
    binaryHeader(0x21, 0x11, ipv4Addresses, tlv(types.authority, "mx.test"), tlsTlv(1, 1, ...tls13)),
    { ...two, source, destination, tls },
  ],
  [
    "TLS with a certificate that is good",
    binaryHeader(0x21, 0x11, ipv4Addresses, tlsTlv(7, 0, ...tls13, tlv(types.clientName, "Zoë, sender"))),
    { ...two, source, destination, tls: { ...tls, clientName: "Zoë, sender" } },
  ],
  [
    "TLS with a certificate that is not verified, whose name is nothing",
    binaryHeader(0x21, 0x11, ipv4Addresses, tlsTlv(7, 18, ...tls13, tlv(types.clientName, "liar"))),
    { ...two, source, destination, tls },
  ],
  [
    "TLS with a name that would break a line",
    binaryHeader(0x21, 0x11, ipv4Addresses, tlsTlv(7, 0, ...tls13, tlv(types.clientName, "a\r\nb"))),
    { ...two, source, destination, tls },
  ],
  [
    "TLS of which nothing is told",
    binaryHeader(0x21, 0x11, ipv4Addresses, tlsTlv(1, 0)),
    { ...two, source, destination, tls: { version: "unknown", cipher: "unknown" } },
  ],
  [
    "no TLS",
    binaryHeader(0x21, 0x11, ipv4Addresses, tlsTlv(0, 0, ...tls13)),
    { ...two, source, destination, tls: null },
  ],
];

for (const [what, octets, header] of good) {
  test(`read: ${what}, whole and in pieces, and not an octet further`, () => {
    const after = Buffer.from("EHLO client.example\r\n");
    assert.deepEqual(readProxyHeader(octets), { header, length: octets.length });
    assert.deepEqual(readProxyHeader(Buffer.concat([octets, after])), { header, length: octets.length });
    for (let length = 0; length < octets.length; length++)
      assert.equal(readProxyHeader(octets.subarray(0, length)), undefined, `${length} octets`);
  });
}

const bad: [string, Buffer, RegExp][] = [
  ["an SMTP command", line("EHLO client.example"), /^no PROXY header, but "EHLO client\.exam"$/],
  ["a TLS handshake", Buffer.from([0x16, 3, 1, 2]), /^no PROXY header/],
  ["lower case", line("proxy TCP4 192.0.2.7 198.51.100.1 4000 25"), /^no PROXY header/],
  ["a word too few", line("PROXY TCP4 192.0.2.7 198.51.100.1 4000"), /is no PROXY header/],
  ["a word too many", line("PROXY TCP4 192.0.2.7 198.51.100.1 4000 25 x"), /is no PROXY header/],
  ["two spaces", line("PROXY TCP4  192.0.2.7 198.51.100.1 4000 25"), /is no PROXY header/],
  ["another family", line("PROXY UDP4 192.0.2.7 198.51.100.1 4000 25"), /is no PROXY header/],
  ["a word like UNKNOWN", line("PROXY UNKNOWNS"), /is no PROXY header/],
  [
    "a name for an address",
    line("PROXY TCP4 localhost 198.51.100.1 4000 25"),
    /"localhost" for a TCP4 address/,
  ],
  ["IPv6 called TCP4", line("PROXY TCP4 ::1 198.51.100.1 4000 25"), /"::1" for a TCP4 address/],
  ["IPv4 called TCP6", line("PROXY TCP6 192.0.2.7 ::1 4000 25"), /"192\.0\.2\.7" for a TCP6 address/],
  ["a bad destination", line("PROXY TCP4 192.0.2.7 198.51.100.256 4000 25"), /"198\.51\.100\.256"/],
  ["a zone", line("PROXY TCP6 fe80::1%eth0 ::1 4000 25"), /"fe80::1%eth0" for a TCP6 address/],
  ["a port too high", line("PROXY TCP4 192.0.2.7 198.51.100.1 99999 25"), /99999 for a port/],
  ["a port with a nought before it", line("PROXY TCP4 192.0.2.7 198.51.100.1 04000 25"), /04000 for a port/],
  ["a port with a sign", line("PROXY TCP4 192.0.2.7 198.51.100.1 -1 25"), /is no PROXY header/],
  [
    "a line end of LF",
    Buffer.from(`PROXY TCP4 192.0.2.7 198.51.100.1 4000 25\n${"x".repeat(80)}`),
    /within 107 octets/,
  ],
  ["a line of 108 octets", line(`PROXY UNKNOWN ${"f".repeat(92)}`), /does not end within 107 octets/],
  ["version 3", binaryHeader(0x31, 0x11, ipv4Addresses), /version and command 0x31/],
  ["version 1 in binary", binaryHeader(0x11, 0x11, ipv4Addresses), /version and command 0x11/],
  ["a command that is not known", binaryHeader(0x22, 0x11, ipv4Addresses), /version and command 0x22/],
  ["UDP", binaryHeader(0x21, 0x12, ipv4Addresses), /address family 0x12/],
  ["a family that is not known", binaryHeader(0x21, 0x41, ipv4Addresses), /address family 0x41/],
  [
    "addresses cut short",
    binaryHeader(0x21, 0x11, ipv4Addresses.slice(1)),
    /11 octets where its addresses have 12/,
  ],
  [
    "IPv6 with IPv4's octets",
    binaryHeader(0x21, 0x21, ipv4Addresses),
    /12 octets where its addresses have 36/,
  ],
  [
    "a header of 4,097 octets",
    binaryHeader(0x21, 0x11, ipv4Addresses, tlv(4, "x".repeat(4_066))),
    /4097 octets, more/,
  ],
  ["a TLV without its length", binaryHeader(0x21, 0x11, ipv4Addresses, [4, 0]), /reaches past its end/],
  [
    "a TLV longer than the header",
    binaryHeader(0x21, 0x11, ipv4Addresses, [4, 0, 2, 1]),
    /reaches past its end/,
  ],
  [
    "a TLS part cut short",
    binaryHeader(0x21, 0x11, ipv4Addresses, tlv(types.tls, "\x01\0\0\0")),
    /TLS part has 4 octets/,
  ],
  [
    "a TLS part that overflows",
    binaryHeader(0x21, 0x11, ipv4Addresses, tlsTlv(1, 0, Buffer.from([0x21, 0, 9]))),
    /reaches past its end/,
  ],
  [
    "a TLS version that would break a line",
    binaryHeader(0x21, 0x11, ipv4Addresses, tlsTlv(1, 0, tlv(types.version, "TLS\r\n"))),
    /for a TLS version or cipher/,
  ],
];

for (const [what, octets, reason] of bad) {
  test(`refused: ${what}, and however it is cut`, () => {
    const refused = (error: unknown) => error instanceof ProxyHeaderError && reason.test(error.message);
    assert.throws(() => readProxyHeader(octets), refused);
    // Never read as a good one, and never waited upon once it is all there.
    for (let length = 0; length < octets.length; length++) {
      try {
        assert.equal(readProxyHeader(octets.subarray(0, length)), undefined);
      } catch (error) {
        assert.ok(error instanceof ProxyHeaderError, String(error));
      }
    }
  });
}

test("a header of 4,096 octets is read", () => {
  const octets = binaryHeader(0x21, 0x11, ipv4Addresses, tlv(types.noop, "x".repeat(4_065)));
  assert.equal(octets.length, 4_096);
  assert.equal(readProxyHeader(octets)?.length, 4_096);
});

test("random octets behind the signature are read or refused, and nothing else", () => {
  let state = 1;
  const random = (below: number) => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) & 0x7fffffff;
    return (state >> 8) % below;
  };
  for (let round = 0; round < 20_000; round++) {
    const octets = binaryHeader(
      0x20 + random(2),
      [0x11, 0x21, 0x31, 0][random(4)] as number,
      Array.from({ length: random(80) }, () => [0x20, 0x21, 0, 1, 5, 12, random(256)][random(7)] as number),
    );
    try {
      assert.equal(readProxyHeader(octets)?.length, octets.length);
    } catch (error) {
      assert.ok(error instanceof ProxyHeaderError, String(error));
    }
  }
});
