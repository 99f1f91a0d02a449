import { STATUS_CODES } from "node:http";
import type { TargetConfig } from "@millrace/mail";
import { openWebhook } from "@millrace/webhook";
import {
  type DeliveryRequest,
  everyRecipient,
  oneLine,
  type RecipientOutcome,
  type Transport,
} from "../transport.ts";
import { webhookPayload } from "./webhook-payload.ts";

export type WebhookConfig = Extract<TargetConfig, { webhook: string }>;

export interface WebhookOptions {
  /** How the console is reached from outside: the start of the links. */
  consoleUrl: string;
  /** Key that signs the links. */
  linkSecret: Uint8Array;
  /** Connections at once. */
  connections?: number;
}

type Outcome = Omit<RecipientOutcome, "recipient">;

const defaultTimeoutSeconds = 10;
const defaultInlineLimit = 5 * 1_024 * 1_024;
/** Octets of an answer that are read. */
const answerOctets = 65_536;
/** Octets of an answer that are kept. */
const keptOctets = 1_024;
/** Milliseconds beyond which no Retry-After is believed. */
const longestRetryAfter = 86_400_000;

/**
 * Delivers by an HTTP POST of JSON (`webhookPayloadSchema`), signed as Standard Webhooks wants it. One request is for
 * all recipients.
 *
 * 2xx is delivered, whatever becomes of the answer's body. 410 is final; so is a redirect, which is not followed, and
 * an address that is not public, unless `allowPrivate`: somebody has to correct the URL. All else is deferred, for as
 * long as the far side asks for with Retry-After.
 */
export function webhookTransport(config: WebhookConfig, options: WebhookOptions): Transport {
  const timeout = (config.timeoutSeconds ?? defaultTimeoutSeconds) * 1_000;
  const inlineOctets = config.attachments === "inline" ? (config.inlineLimit ?? defaultInlineLimit) : 0;
  const webhook = openWebhook({
    url: config.webhook,
    secret: config.secret,
    allowPrivate: config.allowPrivate,
    timeout,
    connections: options.connections,
    answerOctets,
  });

  const attempt = async (request: DeliveryRequest): Promise<Outcome> => {
    const payload = await webhookPayload(request, { ...options, inlineOctets });
    try {
      const { status, headers, body } = await webhook.post(request.deliveryId, payload, request.signal);
      return outcomeOf(status, headers, body.toString("utf8", 0, keptOctets));
    } catch (error) {
      if (request.signal.aborted)
        return { result: "deferred", reply: "the attempt was broken off", code: "ABORTED" };
      return failureOf(error as Error);
    }
  };

  return {
    deliver: async (request) => everyRecipient(request.recipients, await attempt(request)),
    close: () => webhook.close(),
  };
}

function outcomeOf(
  status: number,
  headers: Record<string, string | string[] | undefined>,
  text: string,
): Outcome {
  const said = oneLine(`HTTP ${status} ${STATUS_CODES[status] ?? ""}${text ? `: ${text}` : ""}`);
  const code = `HTTP_${status}`;
  if (status >= 200 && status < 300) return { result: "delivered", reply: said, code };
  if (status >= 300 && status < 400) {
    const to = headers.location ? ` to ${oneLine(String(headers.location))}` : "";
    const reply = `HTTP ${status} redirects${to}, which is not followed: set the webhook's URL to the final address`;
    return { result: "failed", reply, code };
  }
  if (status === 410) return { result: "failed", reply: said, code };
  const retryAfter = millisecondsOf(headers["retry-after"], Date.now());
  return {
    result: "deferred",
    reply: said,
    code,
    ...(retryAfter === undefined ? {} : { retryAfter }),
    ...(status >= 500 || status === 429 ? { sick: true } : {}),
  };
}

function failureOf(error: Error & { code?: unknown }): Outcome {
  const code = typeof error.code === "string" ? error.code : error.name;
  const reply = oneLine(error.message);
  return code === "ADDRESS_BLOCKED"
    ? { result: "failed", reply, code }
    : { result: "deferred", reply, code, sick: true };
}

/** Retry-After (RFC 9110 §10.2.3), seconds or a date, in milliseconds from now; undefined when it makes no sense. */
function millisecondsOf(value: string | string[] | undefined, now: number): number | undefined {
  if (typeof value !== "string") return undefined;
  const milliseconds = /^\d+$/.test(value.trim()) ? Number(value) * 1_000 : Date.parse(value) - now;
  if (Number.isNaN(milliseconds)) return undefined;
  return Math.min(Math.max(milliseconds, 0), longestRetryAfter);
}
