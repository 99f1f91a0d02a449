import { z } from "zod";
import { authservIdOf, comparableId } from "./authserv-id.ts";
import { encodedWord, foldedField } from "./mime-text.ts";

/** Name of a header field (RFC 5322 §3.6.8: printable ASCII without a colon). */
const fieldName = z
  .string()
  .regex(
    /^[!-9;-~]{1,76}$/,
    "a field's name is 1 to 76 printable ASCII characters without a colon or a space",
  );

/**
 * One line: every run of white space and control characters is one space. A value that somebody else had a hand in
 * must neither begin a field of its own nor keep the mail from going on.
 */
const fieldValue = z
  .string()
  .max(16_384)
  .transform((text) =>
    text
      .toWellFormed()
      .replace(/[\p{Cc}\p{Zl}\p{Zp}\s]+/gu, " ")
      .trim(),
  );

const addedField = z.object({ name: fieldName, value: fieldValue });
const removedField = z
  .object({
    name: fieldName,
    /** Only the fields with this authserv-id (RFC 8601 §5), and those whose id cannot be read. */
    authservId: z.string().min(1).max(255).optional(),
  })
  .refine(({ name }) => name.toLowerCase() !== "received", {
    error: "Received fields stay: without them a mail loop has no end (RFC 5321 §6.3)",
  })
  .refine(
    ({ name, authservId }) => authservId === undefined || name.toLowerCase() === "authentication-results",
    { error: "authservId goes with the name Authentication-Results only" },
  );

/**
 * How the header of a message differs, as it is delivered, from the stored one: fields in front of it, the first of
 * them at the top, and fields of the message that are left out. What is stored never changes.
 */
export const headerEditsSchema = z.object({
  add: z.array(addedField).max(50).default([]),
  remove: z.array(removedField).max(50).default([]),
});
export type HeaderEdits = z.output<typeof headerEditsSchema>;

/** Edits one after the other: what the later one adds stands in front. Undefined when there are none. */
export function joinedEdits(...all: readonly (HeaderEdits | undefined)[]): HeaderEdits | undefined {
  const edits = all.filter((each) => each !== undefined);
  if (edits.length === 0) return undefined;
  return {
    add: edits.toReversed().flatMap(({ add }) => add),
    remove: edits.flatMap(({ remove }) => remove),
  };
}

/** The added fields as octets, folded at 78 characters where they have spaces and at 998 where they have none. */
export function addedFields({ add }: HeaderEdits): Buffer {
  const fields = add.map(({ name, value }) => {
    // A header has ASCII only, unless the message came with SMTPUTF8: encoded words are right for either.
    const ascii = /^[\x20-\x7e]*$/.test(value) ? value : encodedWord(value, value.length);
    return `${foldedField(name, ascii.replaceAll("\r\n", ""))}\r\n`;
  });
  return Buffer.from(fields.join(""), "latin1");
}

/** What is to be done with a field of this name: nothing, leave it out, or look at its value first. */
export function removalOf({ remove }: HeaderEdits, name: string): "keep" | "drop" | "look" {
  const rules = remove.filter((rule) => rule.name.toLowerCase() === name.toLowerCase());
  if (rules.length === 0) return "keep";
  return rules.some(({ authservId }) => authservId === undefined) ? "drop" : "look";
}

/** Whether a field is left out. @param value unfolded or not */
export function isRemoved(edits: HeaderEdits, name: string, value: string): boolean {
  const removal = removalOf(edits, name);
  if (removal !== "look") return removal === "drop";
  const id = authservIdOf(value);
  // One whose id cannot be read may be read as ours by somebody else.
  return (
    id === undefined ||
    edits.remove.some(({ authservId }) => authservId !== undefined && comparableId(authservId) === id)
  );
}
