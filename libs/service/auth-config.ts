import { durationSchema, toldByKey } from "@millrace/mail";
import { z } from "zod";

/** A client waits for the reply to AUTH no longer than for one to another command. */
const longestTimeout = 30_000;

const fileAuth = z.strictObject({
  /** Users in lines `name:hash`, or `name:hash:reverse-path,reverse-path`. */
  file: z.string().min(1),
});
const httpAuth = z.strictObject({
  /** Where name and password are POSTed to. */
  http: z.url({ protocol: /^https?$/ }),
  /** Signs each request (Standard Webhooks, `whsec_…` or any text). */
  secret: z.string().min(1).optional(),
  /** Allow addresses in private, loopback and link-local networks. */
  allowPrivate: z.boolean().optional(),
  timeout: durationSchema
    .refine((timeout) => timeout <= longestTimeout, { message: "a check may take 30 s at most" })
    .optional(),
});
export type HttpAuthConfig = z.output<typeof httpAuth>;
export type AuthConfig = z.output<typeof fileAuth> | HttpAuthConfig;

/** Who knows the users. */
export const authSchema = toldByKey(
  { file: fileAuth, http: httpAuth },
  'auth is { file: "./users.htpasswd" } or { http: "https://…" }; leave it out for the users of `millrace user`',
);
