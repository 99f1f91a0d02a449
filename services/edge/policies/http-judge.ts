import { randomUUID } from "node:crypto";
import { STATUS_CODES } from "node:http";
import { type Decision, decisionSchema, type PolicyTransaction } from "@millrace/pipeline";
import type { HttpPolicyConfig } from "@millrace/service";
import { openWebhook } from "@millrace/webhook";
import { LRUCache } from "lru-cache";
import type { Judge } from "./judge.ts";

const defaultTimeout = 5_000;
/** Octets of the longest answer. */
const answerOctets = 16_384;
/** Questions at once; others wait, within their time. */
const connections = 64;
/** Answers that are kept. */
const keptAnswers = 10_000;

/**
 * A policy behind HTTP: POSTs the transaction as JSON, signed like a webhook's delivery, and reads a `Decision` as JSON
 * from an answer with 2xx. Whatever else it hears is a failure. Answers about MAIL and RCPT are kept for `cache` and
 * stand for the same question: the same moment, client address, user, sender and recipient.
 */
export function httpJudge(config: HttpPolicyConfig): Judge {
  const timeout = config.timeout ?? defaultTimeout;
  const webhook = openWebhook({
    url: config.http,
    secret: config.secret,
    allowPrivate: config.allowPrivate,
    timeout,
    connections,
    answerOctets,
  });
  const kept = config.cache
    ? new LRUCache<string, Decision>({ max: keptAnswers, ttl: config.cache })
    : undefined;

  const ask = async (transaction: PolicyTransaction): Promise<Decision> => {
    const { status, body, complete } = await webhook.post(randomUUID(), transaction);
    if (status < 200 || status > 299) {
      const redirect = status > 299 && status < 400 ? ", a redirect, which is not followed" : "";
      throw new Error(`answered HTTP ${status} ${STATUS_CODES[status] ?? ""}${redirect}`);
    }
    if (!complete) throw new Error(`the answer broke off, or is longer than ${answerOctets} octets`);
    return decisionIn(body.toString("utf8"));
  };
  return {
    name: labelOf(config.http),
    on: config.on,
    timeout,
    onError: config.onError ?? "defer",
    async ask(transaction) {
      const question = kept && questionOf(transaction);
      if (!question) return ask(transaction);
      const known = kept.get(question);
      if (known) return known;
      const decision = await ask(transaction);
      kept.set(question, decision);
      return decision;
    },
    close: () => webhook.close(),
  };
}

/** What an answer that is kept was about; undefined for a message, which is never the same twice. */
function questionOf(transaction: PolicyTransaction): string | undefined {
  if (transaction.on === "data") return undefined;
  const { on, client, user, from } = transaction;
  return JSON.stringify([on, client.ip, user, from, on === "rcpt" ? transaction.recipient : null]);
}

function decisionIn(text: string): Decision {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    throw new Error(`answered ${JSON.stringify(text.slice(0, 100))}, which is no JSON`);
  }
  const result = decisionSchema.safeParse(json);
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  throw new Error(`answered ${JSON.stringify(text.slice(0, 100))}: ${issue?.message}`);
}

/** The URL without what may be secret in it. */
function labelOf(address: string): string {
  const { origin, pathname } = new URL(address);
  return `${origin}${pathname}`;
}
