import { patternMatches } from "@millrace/mail";
import { z } from "zod";

/** Somebody who may send mail. */
export interface User {
  /** In lower case. */
  name: string;
  /** Patterns of the reverse-paths they may give in MAIL, as recipients of routes have them; `<>` is the null one. None: any. */
  reversePaths: readonly string[];
}

/** What a client says who it is. */
export interface Credentials {
  name: string;
  password: string;
  /** Address of the client. */
  client: string;
}

/** Where users are kept. */
export interface Directory {
  /** The user who has this password; undefined when there is none, after the same time. @throws when it cannot tell */
  verify(credentials: Credentials): Promise<User | undefined>;
  /** Verifications that may run at once. */
  readonly atOnce: number;
  close(): Promise<void>;
}

/** Names are matched without regard to case; a colon ends one in a file, and no name is split by a space. */
export const userNameSchema = z
  .string()
  .transform((name) => name.normalize("NFC").toLowerCase())
  .pipe(
    z
      .string()
      .regex(
        /^[^\s\p{Cc}\p{Cf}:]{1,254}$/u,
        "a user's name has 1 to 254 characters, no spaces, colons or control characters",
      ),
  );

export const reversePathSchema = z
  .string()
  .regex(
    /^[^\s\p{Cc},]{1,320}$/u,
    "a reverse-path is an address or a pattern such as *@example.com, or <> for the null one; no spaces or commas",
  );

/** Octets of the longest password: that of AUTH PLAIN fits into a command line with it. */
const passwordOctetsMax = 1_000;

export const passwordSchema = z
  .string()
  .refine(
    (password) =>
      password.length > 0 && Buffer.byteLength(password) <= passwordOctetsMax && !password.includes("\0"),
    `a password has 1 to ${passwordOctetsMax} octets`,
  );

/** Whether a user may give this reverse-path in MAIL; "" is the null one. */
export function maySendFrom({ reversePaths }: User, reversePath: string): boolean {
  if (reversePaths.length === 0) return true;
  return reversePaths.some((pattern) => patternMatches(pattern === "<>" ? "" : pattern, reversePath));
}
