import { randomUUID } from "node:crypto";
import type { HttpAuthConfig } from "@millrace/service";
import { openWebhook } from "@millrace/webhook";
import { z } from "zod";
import { type Directory, reversePathSchema, userNameSchema } from "./user.ts";

const defaultTimeout = 5_000;
/** Octets of the longest answer. */
const answerOctets = 16_384;
const atOnce = 16;

const answerSchema = z.discriminatedUnion("ok", [
  z.object({
    ok: z.literal(true),
    /** Another name for the user than the one that was given. */
    user: userNameSchema.optional(),
    reversePaths: z.array(reversePathSchema).optional(),
  }),
  z.object({ ok: z.literal(false) }),
]);

/**
 * Somebody else who knows the users: is POSTed `{ name, password, client }` as JSON, signed like a webhook's delivery,
 * and answers 200 with `{ "ok": true | false, "user", "reversePaths" }`. 401 and 403 say no as well; whatever else is
 * heard is no answer.
 */
export function httpCheck(config: HttpAuthConfig): Directory {
  const { http: url, secret, allowPrivate, timeout = defaultTimeout } = config;
  const webhook = openWebhook({ url, secret, allowPrivate, timeout, connections: atOnce, answerOctets });
  return {
    atOnce,
    async verify(credentials) {
      const { status, body, complete } = await webhook.post(randomUUID(), credentials);
      if (status === 401 || status === 403) return undefined;
      if (status !== 200) throw new Error(`auth.http answered HTTP ${status}, and 200, 401 or 403 is wanted`);
      // What it says is about passwords, so none of it goes into a log.
      const answer = complete ? answerSchema.safeParse(jsonIn(body)) : undefined;
      if (!answer?.success)
        throw new Error('auth.http answered something else than { "ok": true } or { "ok": false }');
      if (!answer.data.ok) return undefined;
      const { user = userNameSchema.parse(credentials.name), reversePaths = [] } = answer.data;
      return { name: user, reversePaths };
    },
    close: () => webhook.close(),
  };
}

function jsonIn(body: Buffer): unknown {
  try {
    return JSON.parse(body.toString("utf8"));
  } catch {
    return undefined;
  }
}
