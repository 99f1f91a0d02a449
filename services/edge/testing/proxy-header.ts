/** Types of TLVs, as the specification numbers them (§2.2). */
export const types = {
  alpn: 1,
  authority: 2,
  noop: 4,
  tls: 0x20,
  version: 0x21,
  clientName: 0x22,
  cipher: 0x23,
};

/** One TLV. */
export function tlv(type: number, value: string | Buffer): Buffer {
  const octets = Buffer.from(value as string, "utf8");
  const head = Buffer.from([type, 0, 0]);
  head.writeUInt16BE(octets.length, 1);
  return Buffer.concat([head, octets]);
}

/** The TLV about TLS: `client` is its bit field, `verify` is 0 when the client's certificate is good. */
export function tlsTlv(client: number, verify: number, ...parts: Buffer[]): Buffer {
  const head = Buffer.from([client, 0, 0, 0, 0]);
  head.writeUInt32BE(verify, 1);
  return tlv(types.tls, Buffer.concat([head, ...parts]));
}

/** A header of version 2 with anything in it. */
export function binaryHeader(
  versionAndCommand: number,
  family: number,
  ...content: (Buffer | number[])[]
): Buffer {
  const octets = Buffer.concat(content.map((each) => Buffer.from(each)));
  const head = Buffer.from("\r\n\r\n\0\r\nQUIT\n\0\0\0\0", "latin1");
  head[12] = versionAndCommand;
  head[13] = family;
  head.writeUInt16BE(octets.length, 14);
  return Buffer.concat([head, octets]);
}

/** Addresses of version 2: from 192.0.2.7:4000 to 198.51.100.1:25. */
export const ipv4Addresses = [192, 0, 2, 7, 198, 51, 100, 1, 0x0f, 0xa0, 0, 25];
