import { STATUS_CODES } from "node:http";
import type { TargetConfig } from "@millrace/mail";
import { Agent, type Dispatcher, request as send } from "undici";
import {
  type DeliveryRequest,
  everyRecipient,
  oneLine,
  type RecipientOutcome,
  type Transport,
} from "../transport.ts";
import { publicConnector } from "./public-address.ts";
import { webhookPayload } from "./webhook-payload.ts";
import { webhookHeaders, webhookKey } from "./webhook-signature.ts";

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
  const key = config.secret === undefined ? undefined : webhookKey(config.secret);
  const inlineOctets = config.attachments === "inline" ? (config.inlineLimit ?? defaultInlineLimit) : 0;
  const url = new URL(config.webhook);
  const credentials =
    url.username || url.password
      ? Buffer.from(`${decodeURIComponent(url.username)}:${decodeURIComponent(url.password)}`).toString(
          "base64",
        )
      : undefined;
  url.username = "";
  url.password = "";
  url.hash = "";
  const agent = new Agent({
    connect: config.allowPrivate ? { timeout } : publicConnector(timeout),
    connections: options.connections ?? null,
    allowH2: false,
    // The time for the whole is kept below; undici's own would only name it differently.
    headersTimeout: 0,
    bodyTimeout: 0,
  });

  const attempt = async (request: DeliveryRequest): Promise<Outcome> => {
    const payload = await webhookPayload(request, { ...options, inlineOctets });
    const body = Buffer.from(JSON.stringify(payload), "utf8");
    const timer = AbortSignal.timeout(timeout);
    try {
      const answer = await send(url, {
        method: "POST",
        dispatcher: agent,
        signal: AbortSignal.any([request.signal, timer]),
        headers: {
          "content-type": "application/json",
          "user-agent": "Millrace",
          ...(credentials ? { authorization: `Basic ${credentials}` } : {}),
          ...webhookHeaders(request.deliveryId, Math.floor(Date.now() / 1_000), body, key),
        },
        body,
      });
      return outcomeOf(answer.statusCode, answer.headers, await startOf(answer.body));
    } catch (error) {
      if (request.signal.aborted)
        return { result: "deferred", reply: "the attempt was broken off", code: "ABORTED" };
      if (timer.aborted)
        return {
          result: "deferred",
          reply: `no answer within ${timeout / 1_000} s`,
          code: "TIMEOUT",
          sick: true,
        };
      return failureOf(error as Error);
    }
  };

  return {
    deliver: async (request) => everyRecipient(request.recipients, await attempt(request)),
    close: () => agent.destroy(),
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

/** Something between the request and an answer: undici wraps the reason now and then. */
function failureOf(error: Error & { code?: unknown }): Outcome {
  const reason = (error.cause instanceof Error ? error.cause : error) as Error & { code?: unknown };
  const first = reason instanceof AggregateError ? (reason.errors[0] as Error) : reason;
  const code = typeof reason.code === "string" ? reason.code : reason.name;
  const reply = oneLine(first.message);
  return code === "ADDRESS_BLOCKED"
    ? { result: "failed", reply, code }
    : { result: "deferred", reply, code, sick: true };
}

/** The answer's first words. Reads no more than it must; a body that breaks off or never ends changes nothing. */
async function startOf(body: Dispatcher.ResponseData["body"]): Promise<string> {
  const pieces: Buffer[] = [];
  let octets = 0;
  try {
    for await (const piece of body) {
      pieces.push(piece as Buffer);
      octets += (piece as Buffer).length;
      if (octets >= answerOctets) break;
    }
  } catch {
    // The status has come, and it is the status that counts.
  }
  return Buffer.concat(pieces).subarray(0, keptOctets).toString("utf8");
}

/** Retry-After (RFC 9110 §10.2.3), seconds or a date, in milliseconds from now; undefined when it makes no sense. */
function millisecondsOf(value: string | string[] | undefined, now: number): number | undefined {
  if (typeof value !== "string") return undefined;
  const milliseconds = /^\d+$/.test(value.trim()) ? Number(value) * 1_000 : Date.parse(value) - now;
  if (Number.isNaN(milliseconds)) return undefined;
  return Math.min(Math.max(milliseconds, 0), longestRetryAfter);
}
