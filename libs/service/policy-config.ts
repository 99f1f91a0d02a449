import { durationSchema, toldByKey } from "@millrace/mail";
import { z } from "zod";

/** Milliseconds one policy may have at most: several may be asked, and a client waits five minutes for a reply. */
const longestTimeout = 60_000;

const timeoutSchema = z
  .preprocess((value) => (typeof value === "number" ? `${value}ms` : value), durationSchema)
  .refine((timeout) => timeout <= longestTimeout, { message: "a policy may take a minute at most" });

/** What every entry may say. */
const common = {
  /** Time for one decision: milliseconds, or a duration such as "2s". */
  timeout: timeoutSchema.optional(),
  /** What happens to the transaction when the policy fails or is overdue. */
  onError: z.enum(["defer", "accept"]).optional(),
};
const filePolicy = z.strictObject({
  /** A file whose default export is made by `definePolicy`. */
  file: z.string().min(1),
  /** For the policy, as `ctx.options`. Plain data. */
  options: z.record(z.string(), z.json()).optional(),
  ...common,
});
const httpPolicy = z.strictObject({
  /** Where the transaction is POSTed to. */
  http: z.url({ protocol: /^https?$/ }),
  on: z.preprocess(
    (value) => (Array.isArray(value) ? value : [value]),
    z.array(z.enum(["mail", "rcpt", "data"])).min(1),
  ),
  /** How long an answer about a MAIL or an RCPT is good for the same question. Without it, every time is asked anew. */
  cache: durationSchema.optional(),
  /** Signs each request (Standard Webhooks, `whsec_…` or any text). */
  secret: z.string().min(1).optional(),
  /** Allow addresses in private, loopback and link-local networks. */
  allowPrivate: z.boolean().optional(),
  ...common,
});
export type FilePolicyConfig = z.output<typeof filePolicy>;
export type HttpPolicyConfig = z.output<typeof httpPolicy>;
export type PolicyConfig = FilePolicyConfig | HttpPolicyConfig;

/** An entry of `policies`. */
export const policySchema = toldByKey(
  { file: filePolicy, http: httpPolicy },
  'a policy is { file: "./my-policy.ts" } or { http: "https://…", on: ["rcpt"] }',
);
