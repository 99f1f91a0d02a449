import { z } from "zod";

/**
 * What a policy says of a transaction. As JSON it is also what a policy behind HTTP answers with. `accept` and `tag`
 * let the next policy be asked; `reject` and `defer` end the matter.
 */
export type Decision =
  | { decision: "accept" }
  | { decision: "reject"; code: number; text: string }
  | { decision: "defer"; code: number; text: string }
  | { decision: "tag"; tags: string[] };

/** Characters of a reply's text: with its code and CRLF it stays below the 512 octets of RFC 5321 §4.5.3.1.5. */
const longestText = 500;

const refusalTexts = { reject: "5.7.1 Not accepted here", defer: "4.7.1 Not now, try again later" } as const;

const textSchema = z.string({ error: '`text` is a text, such as "5.7.1 Not wanted here"' });
const tagSchema = z.string().regex(/^[!-~]{1,64}$/, {
  error: "a tag is a word of 1 to 64 printable ASCII characters, without a space",
});

/**
 * Reads a decision, and makes its text one that can stand in an SMTP reply: one line of printable ASCII, cut to 500
 * characters, with an enhanced status (RFC 3463) of the reply code's own class first.
 */
export const decisionSchema = z.discriminatedUnion(
  "decision",
  [
    z.object({ decision: z.literal("accept") }),
    z.object({
      decision: z.literal("reject"),
      code: z
        .int({ error: "`code` of a reject is a whole number from 510 to 599" })
        .min(510, "`code` of a reject is a reply code from 510 to 599")
        .max(599, "`code` of a reject is a reply code from 510 to 599")
        .default(550),
      text: textSchema.default("").transform((text) => replyText("reject", text)),
    }),
    z.object({
      decision: z.literal("defer"),
      code: z
        .int({ error: "`code` of a defer is a whole number from 400 to 499" })
        .min(400, "`code` of a defer is a reply code from 400 to 499")
        .max(499, "`code` of a defer is a reply code from 400 to 499")
        .default(451),
      text: textSchema.default("").transform((text) => replyText("defer", text)),
    }),
    z.object({
      decision: z.literal("tag"),
      tags: z.array(tagSchema).min(1, "`tags` has no tag").max(32, "`tags` has more than 32 tags"),
    }),
  ],
  { error: "a decision is what accept(), reject(), defer() or tag() returns" },
);

/** Nothing against it. */
export function accept(): Decision {
  return accepted;
}
const accepted: Decision = Object.freeze({ decision: "accept" });

/**
 * Refuses for good.
 * @param code reply code, 510 to 599; 550 unless given
 * @param text what the client reads; an enhanced status may stand first, else it is 5.7.1
 * @throws TypeError that names what is wrong with code or text
 */
export function reject(code?: number, text?: string): Decision {
  return checked("reject", { decision: "reject", code, text });
}

/**
 * Refuses for now: the sender keeps the message and comes again.
 * @param code reply code, 400 to 499; 451 unless given. After a 421 the connection is closed.
 * @param text what the client reads; an enhanced status may stand first, else it is 4.7.1
 * @throws TypeError that names what is wrong with code or text
 */
export function defer(code?: number, text?: string): Decision {
  return checked("defer", { decision: "defer", code, text });
}

/**
 * Lets the transaction go on, and its message carry these words in `envelope.tags`.
 * @throws TypeError when one of them is no word
 */
export function tag(...tags: string[]): Decision {
  return checked("tag", { decision: "tag", tags });
}

function checked(name: string, value: unknown): Decision {
  const result = decisionSchema.safeParse(value);
  if (result.success) return result.data;
  throw new TypeError(`${name}: ${result.error.issues.map(({ message }) => message).join("; ")}`);
}

function replyText(decision: "reject" | "defer", text: string): string {
  const fallback = refusalTexts[decision];
  const line = text
    .slice(0, 4 * longestText)
    .replace(/[\s\p{Cc}]+/gu, " ")
    .replace(/[^ -~]/gu, "?")
    .trim();
  const given = /^([245])\.\d{1,3}\.\d{1,3}(?: |$)/.exec(line);
  const words = given ? line.slice(given[0].length).trimStart() : line;
  if (!words) return fallback;
  // A status of another class than the reply code's would say two things at once (RFC 2034 §4).
  const status = given?.[1] === fallback[0] ? given?.[0].trim() : fallback.slice(0, 5);
  return `${status} ${words}`.slice(0, longestText);
}
