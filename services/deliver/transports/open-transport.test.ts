import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { targetsFor } from "@millrace/mail";
import { openTransport } from "./open-transport.ts";
import { requestFor } from "./testing/request.ts";
import { startScriptedServer } from "./testing/scripted-server.ts";

test("open-transport: each kind of target has its transport", async (t) => {
  const folder = await mkdtemp(join(tmpdir(), "millrace-open-"));
  const server = await startScriptedServer();
  let posted = 0;
  const web = createServer((_request, response) => {
    posted++;
    response.end();
  }).listen(0, "127.0.0.1");
  await once(web, "listening");
  t.after(async () => {
    await server.close();
    web.close();
    web.closeAllConnections();
    await rm(folder, { recursive: true });
  });
  const webhook = `http://127.0.0.1:${(web.address() as AddressInfo).port}/`;
  const to = [
    { maildir: folder },
    { smtp: `smtp://127.0.0.1:${server.port}` },
    { lmtp: `127.0.0.1:${server.port}` },
    { webhook, allowPrivate: true },
  ];
  const { targets } = targetsFor([{ recipients: ["*"], to }], ["to@example.com"]);
  const options = {
    hostname: "mx.example.test",
    consoleUrl: "http://x",
    linkSecret: Buffer.alloc(32),
    connections: 2,
  };
  assert.equal(targets.length, 4);
  for (const target of targets) {
    const transport = openTransport(target, options);
    const [outcome] = await transport.deliver({ ...requestFor(), target });
    assert.equal(outcome?.result, "delivered", target.label);
    await transport.close();
  }
  assert.equal((await readdir(join(folder, "new"))).length, 1);
  assert.deepEqual([server.messages.length, posted], [2, 1]);
  assert.deepEqual(
    server.lines.filter((line) => /^..LO /.test(line)),
    ["EHLO mx.example.test", "LHLO mx.example.test"],
  );
});
