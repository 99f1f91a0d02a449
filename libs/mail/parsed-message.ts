import { z } from "zod";

/** An address of a header field. `name` is decoded, "" when there is none. */
export const mailboxSchema = z.object({ name: z.string(), address: z.string() });
export type Mailbox = z.infer<typeof mailboxSchema>;

/** Everything that can be odd about a message. Each has a sentence in {@link defectMeanings}. */
export const defectMeanings = {
  unparsed: "the parser gave up (time, memory or an error); only what could be read of the header is here",
  "header-malformed": "a line of the header is neither a field nor a continuation",
  "header-too-large": "the header is larger than the parser's limit; what lies beyond was not read",
  "date-missing": "there is no Date field",
  "date-invalid": "the Date field could not be read",
  "from-missing": "there is no From field, or no address in it",
  "from-multiple": "there is more than one From field",
  "address-invalid": "an address field holds something that is no address",
  "content-type-invalid": "a Content-Type could not be read",
  "charset-unknown": "a charset is not known; the text was read as far as possible",
  "transfer-encoding-unknown": "a Content-Transfer-Encoding is not known; the content was taken as it is",
  "boundary-missing": "a multipart has no boundary, or its closing boundary never came",
  "charset-mismatch":
    "some of the text is not in the charset it claims; what could not be read stands as U+FFFD",
  "mime-ambiguous":
    "a part says twice, or with another's boundary, how it is to be read; other programs may read it differently",
  "text-truncated": "the text was longer than the limit and was cut; the original is whole",
  "html-truncated": "the HTML was longer than the limit and was cut; the original is whole",
  "too-many-parts": "there are more parts than the limit; the rest was not read",
  "nesting-too-deep": "parts are nested deeper than the limit; the rest was not read",
} as const;
export type DefectCode = keyof typeof defectMeanings;

export const defectSchema = z.object({
  code: z.enum(Object.keys(defectMeanings) as [DefectCode, ...DefectCode[]]),
  /** Where or what, for a person to read. */
  detail: z.string().optional(),
});
export type Defect = z.infer<typeof defectSchema>;

export const attachmentSchema = z.object({
  /** Place in the message, from 0: the number `messages attachment` and `ctx.attachment()` take. */
  index: z.number().int().nonnegative(),
  /** As the sender wrote it, decoded; null when there is none. Never a path to write to. */
  filename: z.string().nullable(),
  contentType: z.string(),
  /** Octets after transfer decoding. */
  size: z.number().int().nonnegative(),
  /** SHA-256 of the decoded octets, hexadecimal. */
  sha256: z.string(),
  /** Content-ID without its brackets. */
  contentId: z.string().nullable(),
  disposition: z.string().nullable(),
});
export type Attachment = z.infer<typeof attachmentSchema>;

/**
 * A message as the parser understood it. Attachments are described here; their octets stay in the raw
 * message and are streamed from it on request.
 */
export const parsedMessageSchema = z.object({
  v: z.literal(1),
  /** Header fields in their order. `raw` is the field body as it came (unfolded not, decoded not); `value` is decoded. */
  headers: z.array(z.object({ name: z.string(), raw: z.string(), value: z.string() })),
  subject: z.string(),
  from: z.array(mailboxSchema),
  sender: z.array(mailboxSchema),
  replyTo: z.array(mailboxSchema),
  to: z.array(mailboxSchema),
  cc: z.array(mailboxSchema),
  bcc: z.array(mailboxSchema),
  /** Message-ID with its brackets, or null. */
  messageId: z.string().nullable(),
  inReplyTo: z.string().nullable(),
  references: z.array(z.string()),
  /** The Date field, as ISO 8601 in UTC; null when missing or unreadable. */
  date: z.string().nullable(),
  /** The plain text; of HTML that has no plain text beside it, the words. */
  text: z.string(),
  html: z.string(),
  attachments: z.array(attachmentSchema),
  defects: z.array(defectSchema),
});
export type ParsedMessage = z.infer<typeof parsedMessageSchema>;

/** A parsed message with nothing in it: what stands in when nothing could be read. */
export function emptyParsedMessage(defects: Defect[]): ParsedMessage {
  return {
    v: 1,
    headers: [],
    subject: "",
    from: [],
    sender: [],
    replyTo: [],
    to: [],
    cc: [],
    bcc: [],
    messageId: null,
    inReplyTo: null,
    references: [],
    date: null,
    text: "",
    html: "",
    attachments: [],
    defects,
  };
}
