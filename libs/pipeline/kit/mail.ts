import { createHash } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { type Envelope, type Manifest, newMessageId } from "@millrace/mail";
import { makeSample, samples } from "../samples/samples.ts";

/** A mail as it would come in: its octets and its envelope. */
export interface TestMail {
  envelope: Envelope;
  raw: Buffer;
}

/**
 * A mail to test with.
 *
 * @param source a file (`./fixtures/order.eml`), the name of a sample with or without `.eml` (`invoice`, `html`, `bounce`,
 * `malformed` …), or the octets themselves
 * @param envelope what of the envelope is to be different: `{ from, recipients, user, helo, … }`
 * @throws TypeError that lists the samples when it is neither a file nor one of them
 */
export function mail(source: string | Buffer, envelope: Partial<Envelope> = {}): TestMail {
  const { raw, from, recipients } = read(source, envelope);
  return {
    raw,
    envelope: {
      ...{ from, recipients, smtputf8: false, body: null, helo: "client.example.net", protocol: "ESMTP" },
      ...{ client: { ip: "192.0.2.1", port: 49_152 }, tls: null, user: null },
      ...envelope,
    },
  };
}

function read(source: string | Buffer, { from, recipients }: Partial<Envelope>) {
  const usual = { from: from ?? "ann@example.net", recipients: recipients ?? ["test@example.com"] };
  if (typeof source !== "string") return { raw: source, ...usual };
  if (existsSync(source)) return { raw: readFileSync(source), ...usual };
  const sample = makeSample(source.replace(/\.eml$/, ""), {
    ...(from === undefined ? {} : { from }),
    to: usual.recipients,
  });
  if (sample) return sample;
  throw new TypeError(
    `mail(${JSON.stringify(source)}): there is no such file here, nor a sample of that name; the samples are ${samples.map(({ name }) => name).join(", ")}`,
  );
}

/** What the edge would have recorded of it at its acceptance. */
export function manifestOf({ raw, envelope }: TestMail): Manifest {
  return {
    v: 1,
    id: newMessageId(),
    receivedAt: Date.now(),
    size: raw.length,
    sha256: createHash("sha256").update(raw).digest("hex"),
    receivedFieldSize: 0,
    envelope,
  };
}
