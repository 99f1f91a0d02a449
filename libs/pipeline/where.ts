import { type Manifest, type ParsedMessage, patternMatches } from "@millrace/mail";
import { z } from "zod";

const patterns = z.preprocess(
  (value) => (typeof value === "string" ? [value] : value),
  z.array(z.string()).min(1, "names no pattern: leave it out, or give one"),
);

/** As a subscription keeps it. */
export const whereSchema = z.strictObject({
  recipients: patterns.optional(),
  sender: patterns.optional(),
  header: z.record(z.string().min(1), z.union([z.literal(true), z.string()])).optional(),
  attachment: patterns.optional(),
  size: z
    .strictObject({ min: z.number().nonnegative().optional(), max: z.number().nonnegative().optional() })
    .optional(),
});
export type StoredWhere = z.output<typeof whereSchema>;

/** What can be asked of a message as soon as it is accepted. Patterns: `*` stands for any run of characters, in any case. */
export interface EnvelopeWhere {
  /** At least one recipient of the envelope matches one of these: `*@in.example.com`. */
  recipients?: string | readonly string[];
  /** The reverse-path matches one of these; `""` is the null reverse-path. */
  sender?: string | readonly string[];
  /** Octets as the client sent them, both bounds included. */
  size?: { min?: number; max?: number };
}

/**
 * Which messages a worker wants. All that is given must hold. It is decided before a job is made, by whoever records
 * the event, so it is data and not a function.
 */
export interface Where extends EnvelopeWhere {
  /** For each name, a field of that name matches the pattern, decoded; `true`: there is such a field. */
  header?: Record<string, string | true>;
  /** At least one attachment matches one of these: a content type (`application/pdf`, `image/*`), or a file name (`*.pdf`). */
  attachment?: string | readonly string[];
}

/** Whether it takes the parsed message to decide. */
export function needsParsed(where: StoredWhere): boolean {
  return where.header !== undefined || where.attachment !== undefined;
}

/**
 * Whether a message is wanted; undefined when that cannot be said before it is parsed.
 * @param parsed undefined while there is none
 */
export function isWanted(
  where: StoredWhere,
  { envelope, size }: Pick<Manifest, "envelope" | "size">,
  parsed: ParsedMessage | undefined,
): boolean | undefined {
  const { recipients, sender, size: bounds } = where;
  if (recipients && !envelope.recipients.some((address) => matchesOne(recipients, address))) return false;
  if (sender && !matchesOne(sender, envelope.from)) return false;
  if (bounds && (size < (bounds.min ?? 0) || size > (bounds.max ?? Number.POSITIVE_INFINITY))) return false;
  if (!needsParsed(where)) return true;
  return parsed && hasHeader(where, parsed) && hasAttachment(where, parsed);
}

function hasHeader({ header = {} }: StoredWhere, { headers }: ParsedMessage): boolean {
  return Object.entries(header).every(([wanted, pattern]) =>
    headers.some(
      ({ name, value }) =>
        name.toLowerCase() === wanted.toLowerCase() &&
        (pattern === true || patternMatches(pattern, value.trim())),
    ),
  );
}

function hasAttachment({ attachment }: StoredWhere, { attachments }: ParsedMessage): boolean {
  return attachment === undefined || attachments.some((each) => attachmentMatches(attachment, each));
}

/** A pattern with a "/" is about the content type, any other about the file name. */
export function attachmentMatches(
  wanted: readonly string[],
  { contentType, filename }: { contentType: string; filename: string | null },
): boolean {
  return wanted.some((pattern) =>
    patternMatches(pattern, pattern.includes("/") ? contentType : (filename ?? "")),
  );
}

function matchesOne(wanted: readonly string[], text: string): boolean {
  return wanted.some((pattern) => patternMatches(pattern, text));
}
