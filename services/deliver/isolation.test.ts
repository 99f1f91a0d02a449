import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { after, test } from "node:test";
import { routeSchema } from "@millrace/mail";
import { until } from "@millrace/test/until";
import { startDelivering } from "./testing/delivering.ts";
import { openTransport } from "./transports/open-transport.ts";

const ends: (() => Promise<unknown>)[] = [];
after(async () => {
  // Servers first: their hanging clients would keep the worker waiting.
  for (const end of ends) await end();
});

/** A web server that answers with 200 after so many milliseconds, or never. */
async function receiver(after: number | "never") {
  let requests = 0;
  const server = createServer((request, response) => {
    requests++;
    request.resume().on("end", () => {
      if (after !== "never") setTimeout(() => response.end("ok"), after);
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  ends.push(async () => {
    server.closeAllConnections();
    server.close();
  });
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`,
    requests: () => requests,
  };
}

async function twoTargets(bad: number | "never", timing: { patience: number }) {
  const [hanging, good] = [await receiver(bad), await receiver(0)];
  const webhook = (recipients: string, url: string) =>
    routeSchema.parse({ recipients, to: { webhook: url, allowPrivate: true, timeoutSeconds: 300 } });
  const delivering = await startDelivering({
    routes: [webhook("*@bad.test", hanging.url), webhook("*@good.test", good.url)],
    openTransport: (target) =>
      openTransport(target, {
        hostname: "mx.test",
        consoleUrl: "http://console.test",
        linkSecret: Buffer.alloc(32),
        connections: 4,
      }),
    keepBodies: true,
    concurrency: 40,
    targetConcurrency: 4,
    timing,
  });
  ends.push(() => delivering.stop());
  const accept = (recipient: string) => delivering.accept([recipient], {}, "Subject: x\r\n\r\nx\r\n");
  return { hanging, good, delivering, accept };
}

for (const [kind, bad] of [
  ["never answers", "never"],
  ["takes a second for each", 1_000],
] as const) {
  test(`hundreds of messages for a webhook that ${kind} hold up no message for another`, async () => {
    const { hanging, good, delivering, accept } = await twoTargets(bad, { patience: 1_000 });
    for (let i = 0; i < 400; i += 20)
      await Promise.all(Array.from({ length: 20 }, (_, n) => accept(`${i + n}@bad.test`)));
    await Promise.all(Array.from({ length: 100 }, (_, i) => accept(`${i}@good.test`)));
    await until(async () => {
      const recipients = await delivering.deliveredTo();
      return recipients.filter((recipient) => recipient.endsWith("@good.test")).length === 100;
    });
    assert.equal(good.requests(), 100);
    // At four a second, the others would have had to wait for a hundred seconds.
    assert.ok(hanging.requests() < 300, `${hanging.requests()} requests at the other target`);
    if (bad === "never") {
      await until(() => delivering.logged.includes("target in trouble, deliveries suspended"));
      assert.equal(hanging.requests(), 4, "it has no more than its places");
      await until(async () => (await delivering.pipeline.queues.counts("deliver")).waiting === 0);
    }
  });
}
