import { Readable } from "node:stream";
import { addedFields, type HeaderEdits, HeaderFilter } from "@millrace/mail";
import type { WorkerContext } from "@millrace/pipeline";
import type { DeliveryRequest } from "./transport.ts";

/** Octets up to which a message is edited in one piece. */
const wholeOctets = 262_144;

type Source = Pick<WorkerContext, "manifest" | "raw" | "read" | "parsed">;

/**
 * A message as it is delivered: the stored octets, with the edits of their header. Its size is known before the first
 * octet goes out, since SMTP and Maildir say it first: fields can only be left out after the header was looked through.
 */
export async function editedMessage(
  source: Source,
  edits: HeaderEdits | undefined,
): Promise<Pick<DeliveryRequest, "size" | "raw" | "read" | "parsed">> {
  const stored = source.manifest.receivedFieldSize + source.manifest.size;
  const parsed = () => source.parsed();
  if (!edits) return { size: stored, raw: async () => source.raw(), read: () => source.read(), parsed };
  const added = addedFields(edits);
  const stream = async () =>
    Readable.from(edited(await source.raw(), added, edits), { objectMode: false, highWaterMark: 65_536 });
  if (edits.remove.length > 0 && stored <= wholeOctets) {
    const whole = editedWhole(await source.read(), added, edits);
    return { size: whole.length, raw: stream, read: async () => whole, parsed };
  }
  const size = added.length + stored - (await removedOctets(source, edits));
  return {
    size,
    raw: stream,
    read: async () => editedWhole(await source.read(), added, edits),
    parsed,
  };
}

async function* edited(source: Readable, added: Buffer, edits: HeaderEdits): AsyncGenerator<Buffer> {
  const filter = new HeaderFilter(edits);
  if (added.length > 0) yield added;
  for await (const piece of source as AsyncIterable<Buffer>) {
    const out = filter.push(piece);
    if (out.length > 0) yield out;
  }
  const rest = filter.end();
  if (rest.length > 0) yield rest;
}

function editedWhole(message: Buffer, added: Buffer, edits: HeaderEdits): Buffer {
  const filter = new HeaderFilter(edits);
  return Buffer.concat([added, filter.push(message), filter.end()]);
}

/** How much shorter the message gets: its header is read for that, and nothing behind it. */
async function removedOctets(source: Source, edits: HeaderEdits): Promise<number> {
  if (edits.remove.length === 0) return 0;
  const filter = new HeaderFilter(edits);
  for await (const piece of (await source.raw()) as AsyncIterable<Buffer>) {
    filter.push(piece);
    if (filter.ended) break;
  }
  filter.end();
  return filter.removed;
}
