import type { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { type MessageId, messageIdSchema, PermanentFailure, verifyLink } from "@millrace/mail";
import { type MailStore, NotStored } from "@millrace/mailstore";
import { attachmentOf } from "@millrace/mime";
import { attachmentDisposition, harmlessType } from "./content-disposition.ts";
import { type Exchange, HttpError } from "./http-answer.ts";

interface Source {
  store: MailStore;
  linkSecret: Uint8Array;
}

/** `GET /messages/<id>/raw`: the whole message as it was received, for whoever has its link. */
export async function sendRaw(exchange: Exchange, { store, linkSecret }: Source): Promise<void> {
  const id = signedMessage(exchange, linkSecret);
  if (!store.has(id)) throw notFound();
  await send(exchange, "message/rfc822", `${id}.eml`, async () => store.raw(id));
}

/** `GET /messages/<id>/attachments/<index>`: one attachment's octets, for whoever has its link. */
export async function sendAttachment(exchange: Exchange, { store, linkSecret }: Source): Promise<void> {
  const id = signedMessage(exchange, linkSecret);
  const index = Number(exchange.parts[1]);
  const attachment = store.parsed(id)?.attachments.find((each) => each.index === index);
  if (!attachment) throw notFound();
  const name = attachment.filename ?? `attachment-${index}`;
  await send(exchange, harmlessType(attachment.contentType), name, () => attachmentOf(store.raw(id), index));
}

/** The message of a link. The signature comes first: without it, nobody learns what is here and what is not. */
function signedMessage({ path, query, parts }: Exchange, linkSecret: Uint8Array): MessageId {
  const state = verifyLink(path, query, linkSecret);
  if (state === "forged") throw new HttpError(403, "this link is not valid");
  if (state === "expired") throw new HttpError(410, "this link has expired");
  const id = messageIdSchema.safeParse(parts[0]);
  if (!id.success) throw notFound();
  return id.data;
}

async function send(
  { request, response }: Exchange,
  contentType: string,
  filename: string,
  open: () => Promise<Readable>,
): Promise<void> {
  const stream = request.method === "HEAD" ? undefined : await opened(open);
  response.writeHead(200, {
    "content-type": contentType,
    "content-disposition": attachmentDisposition(filename),
  });
  if (!stream) {
    response.end();
    return;
  }
  try {
    await pipeline(stream, response);
  } catch (error) {
    // Who hangs up in the middle has had enough; that is no failure of ours.
    if ((error as NodeJS.ErrnoException).code !== "ERR_STREAM_PREMATURE_CLOSE" || !request.destroyed)
      throw error;
  }
}

async function opened(open: () => Promise<Readable>): Promise<Readable> {
  try {
    return await open();
  } catch (error) {
    if (error instanceof NotStored || error instanceof PermanentFailure) throw notFound();
    throw error;
  }
}

function notFound(): HttpError {
  return new HttpError(404, "not found");
}
