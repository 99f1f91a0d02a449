import { z } from "zod";
import { addressFileName, fnv1a } from "./address.ts";
import { type RetryPolicy, retrySchema } from "./retry-policy.ts";
import { toldByKey } from "./told-by-key.ts";

const maildirTarget = z.strictObject({
  /** Folder of the Maildir. `{recipient}` stands for the recipient's address, made safe for a file name. */
  maildir: z.string().min(1),
});
const smtpTarget = z.strictObject({
  /** `smtp://[user@]host[:port]` (STARTTLS when offered) or `smtps://…` (implicit TLS). */
  smtp: z.url({ protocol: /^smtps?$/ }),
  password: z.string().optional(),
  /** "opportunistic": STARTTLS when offered; "required": refuse to deliver without TLS; "off". */
  tls: z.enum(["opportunistic", "required", "off"]).optional(),
  /** Accept any certificate. Only for a server of your own. */
  insecureTls: z.boolean().optional(),
});
const lmtpTarget = z.strictObject({
  /** `host:port`, or the path of a unix socket. */
  lmtp: z.string().min(1),
});
const webhookTarget = z.strictObject({
  webhook: z.url({ protocol: /^https?$/ }),
  /** Signs each request (Standard Webhooks, `whsec_…` or any text). `env:NAME` reads it from the environment. */
  secret: z.string().min(1).optional(),
  /** "link": each attachment has a signed URL; "inline": base64 in the JSON, up to `inlineLimit` octets a message. */
  attachments: z.enum(["link", "inline"]).optional(),
  inlineLimit: z.number().int().nonnegative().optional(),
  timeoutSeconds: z.number().positive().max(300).optional(),
  /** Allow addresses in private, loopback and link-local networks. Off, so that a URL cannot reach inside. */
  allowPrivate: z.boolean().optional(),
});
const targetSchemas = { maildir: maildirTarget, smtp: smtpTarget, lmtp: lmtpTarget, webhook: webhookTarget };
export type TargetConfig = z.output<(typeof targetSchemas)[TransportName]>;

export const targetSchema = toldByKey(
  targetSchemas,
  'a target is one of { maildir: "path" }, { smtp: "smtp://host:port" }, { lmtp: "host:port" }, { webhook: "https://…" }',
);

/** How long mail stays in the mail store once it is delivered or has failed. Neither limit: for ever. */
export const keepingSchema = z
  .strictObject({
    /** Days since its acceptance after which a message goes. */
    days: z.number().positive().optional(),
    /** Megabytes (10^6 octets) of raw messages that stay: the newest. */
    megabytes: z.number().nonnegative().optional(),
    /** Let messages go that still have dead letters, and the dead letters with them. Off: nothing that failed goes unseen. */
    withDeadLetters: z.boolean().optional(),
  })
  .refine((keep) => keep.days !== undefined || keep.megabytes !== undefined, {
    message: "give `days`, `megabytes` or both; leave `keep` out to keep mail for ever",
  });
export type Keeping = z.output<typeof keepingSchema>;

/**
 * Recipients are patterns matched against the whole address without regard to case; `*` stands for any run
 * of characters: `*`, `*@example.com`, `*@*.example.com`, `sales@example.com`.
 */
export const routeSchema = z.strictObject({
  recipients: oneOrMore(z.string().min(1)),
  to: oneOrMore(targetSchema),
  keep: keepingSchema.optional(),
  /** When its targets are tried again. Each transport has a schedule of its own for those that say nothing. */
  retry: retrySchema.optional(),
  /**
   * What becomes of a delivery that has failed for good: "dead-letter" keeps it for an operator, "dsn" tells its
   * sender (RFC 3464). Without it, "dsn" for mail of an authenticated user and "dead-letter" for all other.
   */
  onFailure: z.enum(["dead-letter", "dsn"]).optional(),
});
export type Route = z.output<typeof routeSchema>;

/** One of something, or a list of them: always a list once it is read. */
function oneOrMore<T extends z.ZodType>(schema: T) {
  return z.preprocess((value) => (Array.isArray(value) ? value : [value]), z.array(schema).min(1));
}

export type TransportName = "maildir" | "smtp" | "lmtp" | "webhook";

/** One destination of one message: what a delivery attempt is made at. */
export interface Target {
  /** Stable over restarts and configuration changes that keep the destination: `webhook-89ab…`. */
  id: string;
  transport: TransportName;
  /** For people: `webhook:https://app.example.com/inbound`. Holds no secret. */
  label: string;
  /** The configuration, with `{recipient}` filled in. */
  config: TargetConfig;
  recipients: string[];
  /** The route's own, if it has one. */
  retry?: RetryPolicy | undefined;
  onFailure?: Route["onFailure"];
}

const patterns = new Map<string, RegExp>();

/** Whether a recipient pattern takes an address. */
export function patternMatches(pattern: string, address: string): boolean {
  let regex = patterns.get(pattern);
  if (!regex) {
    const source = pattern.split("*").map((part) => part.replace(/[.+?^${}()|[\]\\]/g, "\\$&"));
    regex = new RegExp(`^${source.join(".*")}$`, "isu");
    patterns.set(pattern, regex);
  }
  return regex.test(address);
}

/** The first route that takes the recipient, or undefined: then it is refused with 550 5.1.1. */
export function routeFor(routes: readonly Route[], recipient: string): Route | undefined {
  return routes.find((route) => route.recipients.some((pattern) => patternMatches(pattern, recipient)));
}

/**
 * The targets of one message: recipients that share a destination share a target. Where several routes lead to one
 * destination, the first of them in the configuration says how it is tried and what follows a failure. Recipients no
 * route takes go to the relay, if there is one for them; else (the configuration changed since they were accepted)
 * they are returned beside the targets.
 */
export function targetsFor(
  routes: readonly Route[],
  recipients: readonly string[],
  relay?: TargetConfig,
): { targets: Target[]; unrouted: string[] } {
  const targets = new Map<string, { target: Target; order: number }>();
  const unrouted: string[] = [];
  const lead = (recipient: string, config: TargetConfig, order: number, route?: Route) => {
    const target = targetOf(config, recipient);
    if (route?.retry) target.retry = route.retry;
    if (route?.onFailure) target.onFailure = route.onFailure;
    const known = targets.get(target.id);
    if (!known) targets.set(target.id, { target, order });
    else {
      const all = [...known.target.recipients, recipient];
      if (order < known.order) targets.set(target.id, { target: { ...target, recipients: all }, order });
      else known.target.recipients = all;
    }
  };
  for (const recipient of recipients) {
    const route = routeFor(routes, recipient);
    if (route) for (const config of route.to) lead(recipient, config, routes.indexOf(route), route);
    else if (relay) lead(recipient, relay, routes.length);
    else unrouted.push(recipient);
  }
  return { targets: [...targets.values()].map(({ target }) => target), unrouted };
}

function targetOf(config: TargetConfig, recipient: string): Target {
  if ("maildir" in config) {
    const maildir = config.maildir.replaceAll("{recipient}", addressFileName(recipient));
    return target("maildir", maildir, { maildir }, recipient);
  }
  if ("smtp" in config) return target("smtp", config.smtp, config, recipient);
  if ("lmtp" in config) return target("lmtp", config.lmtp, config, recipient);
  return target("webhook", config.webhook, config, recipient);
}

function target(transport: TransportName, address: string, config: TargetConfig, recipient: string): Target {
  return {
    id: `${transport}-${fnv1a(address)}`,
    transport,
    label: `${transport}:${withoutPassword(address)}`,
    config,
    recipients: [recipient],
  };
}

function withoutPassword(address: string): string {
  return address.replace(/^([a-z]+:\/\/[^/:@]*):[^/@]*@/, "$1@");
}
