import { isIPv4, isIPv6 } from "node:net";

// The PROXY protocol, versions 1 and 2: https://www.haproxy.org/download/3.2/doc/proxy-protocol.txt
// Why not a package: those on npm want the whole header in one piece, hand out TLVs as octets, and check little.

/** What a proxy says of the connection it passes on. */
export interface ProxyHeader {
  version: 1 | 2;
  /** The proxy speaks for itself: a health check (LOCAL in version 2). */
  local: boolean;
  /** The client; undefined when the proxy speaks for itself, or does not say for whom (UNKNOWN, UNSPEC, AF_UNIX). */
  source: Endpoint | undefined;
  /** Where the client connected to. */
  destination: Endpoint | undefined;
  /** TLS between client and proxy: null when there is none, undefined when the header says nothing of it. */
  tls: ProxiedTls | null | undefined;
}

export interface Endpoint {
  ip: string;
  port: number;
}

export interface ProxiedTls {
  /** Such as "TLSv1.3"; "unknown" when it is not told. */
  version: string;
  cipher: string;
  /** Common name in the client's certificate, if it showed one and the proxy has verified it. */
  clientName?: string;
}

/** Not a PROXY header, or one that is wrong. */
export class ProxyHeaderError extends Error {
  override name = "ProxyHeaderError";
  readonly kind: "malformed" | "oversized";

  constructor(kind: "malformed" | "oversized", text: string) {
    super(text);
    this.kind = kind;
  }
}

const signature = Buffer.from("\r\n\r\n\0\r\nQUIT\n", "latin1");
const firstWord = Buffer.from("PROXY ", "latin1");
/** Octets of the longest line of version 1, its CRLF included (§2.1). */
const longestLine = 107;
/** Octets of the longest header of version 2 that is read. The format allows 65,551; nginx reads as much as this. */
const longestBinary = 4_096;

/**
 * Reads the header at the beginning of a connection.
 *
 * @param octets all that has arrived so far
 * @returns the header and how many octets it has; undefined when more must arrive first
 * @throws ProxyHeaderError as soon as it can be none
 */
export function readProxyHeader(octets: Buffer): { header: ProxyHeader; length: number } | undefined {
  if (octets.length === 0) return undefined;
  if (begins(octets, firstWord)) return readLine(octets);
  if (begins(octets, signature)) return readBinary(octets);
  throw malformed(`no PROXY header, but ${JSON.stringify(octets.toString("latin1", 0, 16))}`);
}

/** Whether it begins with the mark, or may still do so. */
function begins(octets: Buffer, mark: Buffer): boolean {
  const length = Math.min(octets.length, mark.length);
  return octets.compare(mark, 0, length, 0, length) === 0;
}

function malformed(text: string): ProxyHeaderError {
  return new ProxyHeaderError("malformed", text);
}

/** Version 1 (§2.1): `PROXY TCP4 192.0.2.1 198.51.100.1 56324 25`, or `PROXY UNKNOWN` and whatever follows. */
function readLine(octets: Buffer): { header: ProxyHeader; length: number } | undefined {
  const end = octets.subarray(0, longestLine).indexOf("\r\n");
  if (end === -1) {
    if (octets.length < longestLine) return undefined;
    throw new ProxyHeaderError("oversized", `the PROXY line does not end within ${longestLine} octets`);
  }
  const line = octets.toString("latin1", 0, end);
  const header: ProxyHeader = {
    version: 1,
    local: false,
    source: undefined,
    destination: undefined,
    tls: undefined,
  };
  if (!/^PROXY UNKNOWN(?: |$)/.test(line)) {
    const match = /^PROXY (TCP[46]) ([^ ]+) ([^ ]+) (\d{1,5}) (\d{1,5})$/.exec(line);
    if (!match) throw malformed(`the line ${JSON.stringify(line)} is no PROXY header`);
    const [, family, from, to, fromPort, toPort] = match as unknown as [
      string,
      string,
      string,
      string,
      string,
      string,
    ];
    header.source = { ip: address(family, from), port: port(fromPort) };
    header.destination = { ip: address(family, to), port: port(toPort) };
  }
  return { header, length: end + 2 };
}

function address(family: string, text: string): string {
  // A zone, as in fe80::1%eth0, means something on the proxy's machine alone.
  const is = family === "TCP4" ? isIPv4(text) : isIPv6(text) && !text.includes("%");
  if (!is) throw malformed(`the PROXY header has ${JSON.stringify(text)} for a ${family} address`);
  return family === "TCP4" ? text : canonical(text);
}

/** An IPv6 address as everybody writes it (RFC 5952); one that stands for an IPv4 address, as that. */
function canonical(ip: string): string {
  const written = new URL(`http://[${ip}]`).hostname.slice(1, -1);
  const mapped = /^::ffff:([0-9a-f]{1,4}):([0-9a-f]{1,4})$/.exec(written);
  if (!mapped) return written;
  const [high, low] = [mapped[1], mapped[2]].map((group) => Number.parseInt(group as string, 16)) as [
    number,
    number,
  ];
  return [high >> 8, high & 0xff, low >> 8, low & 0xff].join(".");
}

function port(text: string): number {
  if (!/^(?:0|[1-9]\d*)$/.test(text) || Number(text) > 65_535)
    throw malformed(`the PROXY header has ${text} for a port`);
  return Number(text);
}

/** Octets before the addresses: signature, version and command, family, length (§2.2). */
const fixedLength = 16;
const families: Record<number, { octets: number; ip: (at: Buffer) => string }> = {
  17: { octets: 4, ip: (at) => at.join(".") },
  33: { octets: 16, ip: ipv6 },
};
/** No address we could use: not said, or a unix socket's. */
const addressless: Record<number, number> = { 0: 0, 49: 216 };

function readBinary(octets: Buffer): { header: ProxyHeader; length: number } | undefined {
  // Each octet is judged as soon as it is there: a wrong one is not waited upon.
  const versionAndCommand = octets[12];
  if (versionAndCommand === undefined) return undefined;
  if (versionAndCommand !== 0x20 && versionAndCommand !== 0x21)
    throw malformed(`the PROXY header has version and command 0x${versionAndCommand.toString(16)}`);
  const local = versionAndCommand === 0x20;
  const family = octets[13];
  if (family === undefined) return undefined;
  if (!local && !(family in families) && !(family in addressless))
    throw malformed(`the PROXY header has address family 0x${family.toString(16)}`);
  if (octets.length < fixedLength) return undefined;
  const length = fixedLength + octets.readUInt16BE(14);
  if (length > longestBinary)
    throw new ProxyHeaderError(
      "oversized",
      `the PROXY header has ${length} octets, more than ${longestBinary}`,
    );
  if (octets.length < length) return undefined;
  const content = octets.subarray(fixedLength, length);
  // Of LOCAL, all that follows is to be skipped (§2.2).
  const said = local
    ? { source: undefined, destination: undefined, tls: undefined }
    : readContent(family, content);
  return { header: { version: 2, local, ...said }, length };
}

function readContent(family: number, content: Buffer): Pick<ProxyHeader, "source" | "destination" | "tls"> {
  const known = families[family];
  const addresses = known ? 2 * known.octets + 4 : (addressless[family] as number);
  if (content.length < addresses)
    throw malformed(`the PROXY header has ${content.length} octets where its addresses have ${addresses}`);
  const tls = readTls(content.subarray(addresses));
  if (!known) return { source: undefined, destination: undefined, tls };
  const { octets, ip } = known;
  return {
    source: { ip: ip(content.subarray(0, octets)), port: content.readUInt16BE(2 * octets) },
    destination: { ip: ip(content.subarray(octets, 2 * octets)), port: content.readUInt16BE(2 * octets + 2) },
    tls,
  };
}

function ipv6(octets: Buffer): string {
  return canonical(Array.from({ length: 8 }, (_, i) => octets.readUInt16BE(2 * i).toString(16)).join(":"));
}

/** Types of TLVs, and of those within the one about TLS (§2.2.5). */
const tlv = { tls: 0x20, version: 0x21, clientName: 0x22, cipher: 0x23 } as const;
/** Bits of the TLV's first octet: TLS on this connection; a certificate shown on it, or in its session. */
const clientBits = { tls: 0x01, certificate: 0x02 | 0x04 } as const;

function readTls(octets: Buffer): ProxiedTls | null | undefined {
  const value = readTlvs(octets).get(tlv.tls);
  if (value === undefined) return undefined;
  if (value.length < 5) throw malformed(`the PROXY header's TLS part has ${value.length} octets`);
  const client = value[0] as number;
  const parts = readTlvs(value.subarray(5));
  if (!(client & clientBits.tls)) return null;
  const word = (type: number): string => {
    const text = parts.get(type)?.toString("latin1") ?? "unknown";
    if (!/^[\x21-\x7e]{1,64}$/.test(text))
      throw malformed(
        `the PROXY header has ${JSON.stringify(text.slice(0, 80))} for a TLS version or cipher`,
      );
    return text;
  };
  const tls: ProxiedTls = { version: word(tlv.version), cipher: word(tlv.cipher) };
  const clientName = parts.get(tlv.clientName)?.toString("utf8");
  // Zero: the certificate was shown, and is good.
  const verified = (client & clientBits.certificate) !== 0 && value.readUInt32BE(1) === 0;
  if (verified && clientName && /^\P{Cc}{1,256}$/u.test(clientName)) tls.clientName = clientName;
  return tls;
}

function readTlvs(octets: Buffer): Map<number, Buffer> {
  const found = new Map<number, Buffer>();
  for (let at = 0; at < octets.length; ) {
    const end = at + 3 <= octets.length ? at + 3 + octets.readUInt16BE(at + 1) : Number.POSITIVE_INFINITY;
    if (end > octets.length) throw malformed("a TLV of the PROXY header reaches past its end");
    found.set(octets[at] as number, octets.subarray(at + 3, end));
    at = end;
  }
  return found;
}
