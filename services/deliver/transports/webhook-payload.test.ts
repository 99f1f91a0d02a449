import assert from "node:assert/strict";
import { test } from "node:test";
import { headerEditsSchema } from "@millrace/mail";
import { requestFor } from "./testing/request.ts";
import { webhookPayload } from "./webhook-payload.ts";

test("a webhook reads the header as the message is delivered: with what was added, without what was left out", async () => {
  const field = (name: string, value: string) => ({ name, value });
  const stored = (name: string, value: string) => ({ name, value, raw: value });
  const request = requestFor({
    parsed: {
      headers: [
        stored("Subject", "hello"),
        stored("X-Spam-Status", "No (says the sender)"),
        stored("Authentication-Results", "mx.test; spf=pass"),
        stored("Authentication-Results", "other.test; spf=pass"),
      ],
    },
  });
  const header = headerEditsSchema.parse({
    add: [field("X-Spam-Status", "Yes")],
    remove: [{ name: "x-spam-status" }, { name: "Authentication-Results", authservId: "mx.test" }],
  });
  const options = { consoleUrl: "http://console.test", linkSecret: Buffer.alloc(32), inlineOctets: 0 };
  const { data } = await webhookPayload({ ...request, header }, options);
  assert.deepEqual(data.headers, [
    field("X-Spam-Status", "Yes"),
    field("Subject", "hello"),
    field("Authentication-Results", "other.test; spf=pass"),
  ]);
});
