import {
  type Attachment,
  headerEditsSchema,
  isRemoved,
  messageIdSchema,
  type ParsedMessage,
  parsedMessageSchema,
  signLink,
} from "@millrace/mail";
import { attachmentOf } from "@millrace/mime";
import { z } from "zod";
import type { DeliveryRequest } from "../transport.ts";

const parsed = parsedMessageSchema.shape;
const described = parsed.attachments.element;

const attachmentSchema = z.object({
  ...described.shape,
  /** Where to fetch it, for seven days. Absent when `content` is there. */
  url: z.string().optional(),
  /** The octets in base64. */
  content: z.string().optional(),
});

/** The body of a webhook request, as JSON. */
export const webhookPayloadSchema = z.object({
  /** The same at every attempt and every replay, and in the header `webhook-id`. */
  id: z.string(),
  type: z.literal("message.received"),
  /** When the message was accepted: ISO 8601, UTC. */
  timestamp: z.string(),
  data: z.object({
    message: messageIdSchema,
    /** ISO 8601, UTC. */
    receivedAt: z.string(),
    /** The SMTP transaction: who it came from ("" for a bounce) and whom of this webhook's it is for. */
    envelope: z.object({ from: z.string(), recipients: z.array(z.string()) }),
    /** Octets and SHA-256 (hexadecimal) of the message as the client sent it. */
    size: z.number(),
    sha256: z.string(),
    subject: parsed.subject,
    from: parsed.from,
    to: parsed.to,
    cc: parsed.cc,
    replyTo: parsed.replyTo,
    /** The Date field: ISO 8601, UTC. */
    date: parsed.date,
    messageId: parsed.messageId,
    inReplyTo: parsed.inReplyTo,
    references: parsed.references,
    /** Every header field in its order, decoded: as the message is delivered, with the edits it was cleared with. */
    headers: z.array(z.object({ name: z.string(), value: z.string() })),
    text: parsed.text,
    html: parsed.html,
    attachments: z.array(attachmentSchema),
    /** What was odd about the message. */
    defects: parsed.defects,
    /** The whole message as it was received, without those edits, for seven days. */
    rawUrl: z.string(),
  }),
});
export type WebhookPayload = z.infer<typeof webhookPayloadSchema>;

export interface PayloadOptions {
  consoleUrl: string;
  linkSecret: Uint8Array;
  /** Octets of attachments that are put into the payload; those beyond are linked. 0: all are. */
  inlineOctets: number;
}

export async function webhookPayload(
  request: DeliveryRequest,
  { consoleUrl, linkSecret, inlineOctets }: PayloadOptions,
): Promise<WebhookPayload> {
  const message = await request.parsed();
  const { receivedAt, envelope, size, sha256 } = request.manifest;
  const base = consoleUrl.replace(/\/+$/, "");
  const link = (path: string) => `${base}${signLink(`/messages/${request.message}/${path}`, linkSecret)}`;

  const attachments: WebhookPayload["data"]["attachments"] = [];
  let left = inlineOctets;
  for (const attachment of message.attachments) {
    const content = attachment.size <= left ? await base64Of(request, attachment) : undefined;
    if (content !== undefined) left -= attachment.size;
    attachments.push({
      ...attachment,
      ...(content === undefined ? { url: link(`attachments/${attachment.index}`) } : { content }),
    });
  }
  const time = new Date(receivedAt).toISOString();
  return {
    id: request.deliveryId,
    type: "message.received",
    timestamp: time,
    data: {
      message: request.message,
      receivedAt: time,
      envelope: { from: envelope.from, recipients: request.recipients },
      size,
      sha256,
      subject: message.subject,
      from: message.from,
      to: message.to,
      cc: message.cc,
      replyTo: message.replyTo,
      date: message.date,
      messageId: message.messageId,
      inReplyTo: message.inReplyTo,
      references: message.references,
      headers: deliveredHeaders(request, message),
      text: message.text,
      html: message.html,
      attachments,
      defects: message.defects,
      rawUrl: link("raw"),
    },
  };
}

function deliveredHeaders(
  { header }: DeliveryRequest,
  { headers }: ParsedMessage,
): { name: string; value: string }[] {
  const { add, remove } = header ?? headerEditsSchema.parse({});
  const kept = headers.filter(({ name, value }) => !isRemoved({ add, remove }, name, value));
  return [...add, ...kept].map(({ name, value }) => ({ name, value }));
}

async function base64Of(request: DeliveryRequest, { index }: Attachment): Promise<string> {
  const pieces: Buffer[] = [];
  for await (const piece of await attachmentOf(await request.raw(), index)) pieces.push(piece as Buffer);
  return Buffer.concat(pieces).toString("base64");
}
