import { randomUUID } from "node:crypto";
import { attachments } from "./attachments.ts";
import { big } from "./big.ts";
import { bounce } from "./bounce.ts";
import { calendar } from "./calendar.ts";
import { html } from "./html.ts";
import { invoice } from "./invoice.ts";
import { malformed } from "./malformed.ts";
import { plain } from "./plain.ts";
import { reply } from "./reply.ts";
import type { Sample } from "./sample.ts";
import { spoofed } from "./spoofed.ts";

export type { Sample } from "./sample.ts";

/** Mails to try a worker with, in the order they are listed in. */
export const samples: readonly Sample[] = [
  ...[plain, html, attachments, invoice, calendar, reply, bounce, big, malformed, spoofed],
];

/** A mail and the envelope it goes out with. */
export interface SampleMail {
  /** Reverse-path, "" for the null one. */
  from: string;
  recipients: string[];
  raw: Buffer;
}

/**
 * Makes the sample of a name, with a date and a Message-ID of now.
 *
 * @param options `from` is also the address of the header's From, save for those whose point is another: `bounce`,
 * `malformed` and `spoofed`; `to` is also the header's To
 * @returns undefined when there is no sample of that name
 */
export function makeSample(
  name: string,
  options: { from?: string; to?: readonly string[]; at?: Date } = {},
): SampleMail | undefined {
  const sample = samples.find((each) => each.name === name);
  if (!sample) return undefined;
  const { from = sample.from, to = ["test@example.com"], at = new Date() } = options;
  const text = sample.build({ from: from || sample.from, to, at, id: randomUUID() });
  return { from, recipients: [...to], raw: Buffer.from(text, "latin1") };
}
