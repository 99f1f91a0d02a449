import { type Envelope, milliseconds } from "@millrace/mail";
import type { Logger } from "@millrace/service";
import type { z } from "zod";
import type { Decision } from "./decision.ts";

/** The moments of a transaction at which policies are asked: at MAIL, at each RCPT, and after the final dot. */
const policyStages = ["mail", "rcpt", "data"] as const;
export type PolicyStage = (typeof policyStages)[number];

/** What becomes of a transaction whose policy fails or is overdue. "defer" loses no mail: the sender tries again. */
const policyFallbacks = ["defer", "accept"] as const;
export type PolicyFallback = (typeof policyFallbacks)[number];

/** Longest time one policy may have, in milliseconds: a client waits five minutes for a reply (RFC 5321 §4.5.3.2). */
const longestTimeout = 60_000;

/** What is known at every moment. */
interface KnownAtMail extends Pick<Envelope, "client" | "helo" | "protocol" | "tls" | "user"> {
  /** Tells the client's connection in the log lines. */
  session: string;
  /** The reverse-path without brackets; "" for a bounce. */
  from: string;
  /** Recipients accepted so far: none at MAIL, all of them at DATA. */
  recipients: string[];
  /** Tags the transaction has by now. */
  tags: string[];
}

interface StageTransactions {
  mail: KnownAtMail & { on: "mail" };
  rcpt: KnownAtMail & {
    on: "rcpt";
    /** The recipient asked about; not yet in `recipients`. */
    recipient: string;
  };
  data: KnownAtMail & {
    on: "data";
    /** The message's id, as the 250 will name it. */
    message: string;
    /** Octets of the message as the client sent it, and their SHA-256, hexadecimal. */
    size: number;
    sha256: string;
    /** Received fields it came with. */
    hops: number;
    /** The header fields in their order, unfolded and decoded, as far as they stand in the first 64 KiB. */
    headers: { name: string; value: string }[];
  };
}

/** A transaction as a policy sees it at this moment; as JSON, what a policy behind HTTP is sent. */
export type PolicyTransaction<On extends PolicyStage = PolicyStage> = StageTransactions[On];

/** What a policy has at hand beside the transaction. */
export interface PolicyContext<Options = unknown> {
  log: Logger;
  /** Aborted when the policy's time is over: nobody waits for its decision any more. */
  signal: AbortSignal;
  /** `options` of the policy's entry in the configuration, as its schema read them. */
  options: Options;
}

/** A policy as the edge asks it. Made by {@link definePolicy}. */
export interface PolicyDefinition {
  name: string;
  on: readonly PolicyStage[];
  /** Milliseconds. */
  timeout: number;
  onError: PolicyFallback;
  options: z.ZodType | undefined;
  decide(transaction: PolicyTransaction, ctx: PolicyContext): Decision | Promise<Decision>;
}

type Decide<On extends PolicyStage, Schema extends z.ZodType> = (
  transaction: PolicyTransaction<On>,
  ctx: PolicyContext<z.output<Schema>>,
) => Decision | Promise<Decision>;

export interface PolicyOptions<
  On extends PolicyStage,
  Schema extends z.ZodType,
  Deciding extends Decide<On, Schema>,
> {
  /** Lower case letters, digits and "-"; names the policy in the log. */
  name: string;
  on: On | readonly On[];
  /** How long one decision may take: milliseconds, or a duration such as "2s". Default 5 s, at most a minute. */
  timeout?: number | string;
  /** What happens when it throws, answers nonsense or is overdue. Default "defer". */
  onError?: PolicyFallback;
  /** Schema of `options` in its entry of the configuration. */
  options?: Schema;
  /** Answers with accept(), reject(), defer() or tag(). Runs beside other decisions in one process: never block it. */
  decide: Deciding;
}

/** Makes a policy out of its options, with the defaults filled in. @throws TypeError that names the policy and the option */
export function definePolicy<
  const On extends PolicyStage,
  Deciding extends Decide<On, Schema>,
  Schema extends z.ZodType = z.ZodUnknown,
>(options: PolicyOptions<On, Schema, Deciding>): Omit<PolicyDefinition, "decide"> & { decide: Deciding } {
  const wrong = (what: string) => new TypeError(`policy ${JSON.stringify(options.name)}: ${what}`);
  if (!/^[a-z][a-z0-9-]{0,62}$/.test(options.name)) {
    throw wrong(
      'a name is lower case letters, digits and "-", begins with a letter and has at most 63 characters',
    );
  }
  const on: readonly PolicyStage[] = [options.on].flat();
  const unknown = on.find((stage) => !policyStages.includes(stage));
  if (on.length === 0 || unknown !== undefined)
    throw wrong(`\`on\` is one or several of ${policyStages.join(", ")}, not ${JSON.stringify(options.on)}`);
  let timeout: number;
  try {
    timeout = milliseconds(options.timeout ?? 5_000);
  } catch (error) {
    throw wrong(`\`timeout\`: ${(error as Error).message}`);
  }
  if (timeout > longestTimeout) throw wrong(`\`timeout\` is a minute at most, not ${options.timeout}`);
  const onError = options.onError ?? "defer";
  if (!policyFallbacks.includes(onError))
    throw wrong(`\`onError\` is ${policyFallbacks.join(" or ")}, not ${JSON.stringify(onError)}`);
  if (typeof options.decide !== "function") throw wrong("`decide` is not a function");
  return { name: options.name, on, timeout, onError, options: options.options, decide: options.decide };
}
