import { Agent, type Dispatcher, request } from "undici";
import { publicConnector } from "./public-address.ts";
import { webhookHeaders, webhookKey } from "./signature.ts";

/** Where JSON is posted to. */
export interface WebhookEndpoint {
  /** `http:` or `https:`; user and password in it become Basic authentication. */
  url: string;
  /** Signs each request; see `webhookKey`. Without it they go unsigned. */
  secret?: string | undefined;
  /** Lets the URL lead to private, loopback and link-local addresses. */
  allowPrivate?: boolean | undefined;
  /** Milliseconds for one request, from the connection to the end of what is read of the answer. */
  timeout: number;
  /** Connections at once; without it there is no limit. */
  connections?: number | undefined;
  /** Octets of an answer that are read; the rest is cut off. */
  answerOctets: number;
}

export interface WebhookAnswer {
  status: number;
  /** Lower-case names. */
  headers: Record<string, string | string[] | undefined>;
  body: Buffer;
  /** Whether the body came to its end within the time and the octets there are for it. */
  complete: boolean;
}

export interface Webhook {
  /**
   * POSTs JSON, signed as Standard Webhooks wants it. Redirects are not followed: a 3xx is an answer like any other.
   * A body that breaks off or never ends changes nothing about the status that has come.
   *
   * @param id the same at every attempt, for the receiver to tell a repetition
   * @param signal breaks the request off
   * @throws the signal's reason; an Error with a `code`: `TIMEOUT`, `ADDRESS_BLOCKED`, an errno, one of undici's
   */
  post(id: string, json: unknown, signal?: AbortSignal): Promise<WebhookAnswer>;
  close(): Promise<void>;
}

/** Nothing came within the time. */
class NoAnswer extends Error {
  override name = "NoAnswer";
  readonly code = "TIMEOUT";
}

export function openWebhook(endpoint: WebhookEndpoint): Webhook {
  const { timeout, answerOctets } = endpoint;
  const key = endpoint.secret === undefined ? undefined : webhookKey(endpoint.secret);
  const { url, authorization } = withoutCredentials(endpoint.url);
  const agent = new Agent({
    connect: endpoint.allowPrivate ? { timeout } : publicConnector(timeout),
    connections: endpoint.connections ?? null,
    allowH2: false,
    // The time for the whole is kept below; undici's own would only name it differently.
    headersTimeout: 0,
    bodyTimeout: 0,
  });
  return {
    async post(id, json, signal) {
      const body = Buffer.from(JSON.stringify(json), "utf8");
      const timer = AbortSignal.timeout(timeout);
      try {
        const answer = await request(url, {
          method: "POST",
          dispatcher: agent,
          signal: signal ? AbortSignal.any([signal, timer]) : timer,
          headers: {
            "content-type": "application/json",
            "user-agent": "Millrace",
            ...authorization,
            ...webhookHeaders(id, Math.floor(Date.now() / 1_000), body, key),
          },
          body,
        });
        return {
          status: answer.statusCode,
          headers: answer.headers,
          ...(await startOf(answer.body, answerOctets)),
        };
      } catch (error) {
        if (signal?.aborted) throw signal.reason;
        if (timer.aborted) throw new NoAnswer(`no answer within ${timeout / 1_000} s`);
        throw reasonOf(error as Error);
      }
    },
    close: () => agent.destroy(),
  };
}

function withoutCredentials(address: string): { url: URL; authorization: Record<string, string> } {
  const url = new URL(address);
  const { username, password } = url;
  url.username = "";
  url.password = "";
  url.hash = "";
  if (!username && !password) return { url, authorization: {} };
  const credentials = `${decodeURIComponent(username)}:${decodeURIComponent(password)}`;
  return { url, authorization: { authorization: `Basic ${Buffer.from(credentials).toString("base64")}` } };
}

/** Something between the request and an answer: undici wraps the reason now and then. */
function reasonOf(error: Error): Error {
  const reason = error.cause instanceof Error ? error.cause : error;
  return reason instanceof AggregateError ? (reason.errors[0] as Error) : reason;
}

/** Reads no more than it must. */
async function startOf(
  body: Dispatcher.ResponseData["body"],
  octetsMax: number,
): Promise<Pick<WebhookAnswer, "body" | "complete">> {
  const pieces: Buffer[] = [];
  let octets = 0;
  let complete = true;
  try {
    for await (const piece of body) {
      pieces.push(piece as Buffer);
      octets += (piece as Buffer).length;
      complete = octets <= octetsMax;
      if (!complete) break;
    }
  } catch {
    complete = false;
  }
  return { body: Buffer.concat(pieces).subarray(0, octetsMax), complete };
}
