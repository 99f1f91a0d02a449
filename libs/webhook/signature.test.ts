import assert from "node:assert/strict";
import { test } from "node:test";
import { Webhook } from "standardwebhooks";
import { webhookHeaders, webhookKey } from "./signature.ts";

const body = Buffer.from('{"text":"gr\u00fc\u00dfe"}');

test("webhook signature: a receiver verifies with the secret as it is, or with a text in base64", () => {
  const secrets = [
    "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    "any text at all",
    "whsec_but not base64!",
    "gr\u00fc\u00dfe \u2603",
  ];
  for (const secret of secrets) {
    const now = Math.floor(Date.now() / 1_000);
    const headers = webhookHeaders("id.1", now, body, webhookKey(secret));
    const receivers = secret.startsWith("whsec_M") ? secret : Buffer.from(secret).toString("base64");
    assert.deepEqual(new Webhook(receivers).verify(body, headers), JSON.parse(body.toString()));
    assert.throws(() => new Webhook(receivers).verify(Buffer.concat([body, Buffer.from(" ")]), headers));
    assert.throws(() => new Webhook(receivers).verify(body, { ...headers, "webhook-id": "id.2" }));
    assert.throws(() => new Webhook("c29tZXRoaW5nIGVsc2U=").verify(body, headers));
  }
});

test("webhook signature: without a secret there is an id and a time, and no signature", () => {
  assert.deepEqual(webhookHeaders("id", 7, body, undefined), {
    "webhook-id": "id",
    "webhook-timestamp": "7",
  });
});
