import assert from "node:assert/strict";
import { once } from "node:events";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import type { MailStore, MessageSummary } from "@millrace/mailstore";
import { SMTPServer } from "smtp-server";
import { Installation } from "../support/millrace.ts";
import { mail, sendAll } from "../support/sender.ts";
import { until } from "../support/until.ts";

describe("mail that a server refuses for good", () => {
  let server: SMTPServer;
  let millrace: Installation;
  before(async () => {
    server = new SMTPServer({
      disabledCommands: ["AUTH", "STARTTLS"],
      disableReverseLookup: true,
      logger: false,
      onRcptTo: (_address, _session, done) =>
        done(Object.assign(new Error("5.1.1 no such user"), { responseCode: 550 })),
    });
    server.on("error", () => {});
    server.listen(0, "127.0.0.1");
    await once(server.server, "listening");
    const { port } = server.server.address() as AddressInfo;
    const refusing = { smtp: `smtp://127.0.0.1:${port}` };
    millrace = new Installation({
      config: {
        hostname: "mx.example.test",
        routes: [
          { recipients: "*@told.test", to: refusing, onFailure: "dsn" },
          { recipients: "*@untold.test", to: refusing },
          { recipients: "*", to: { maildir: "inbox/{recipient}" } },
        ],
      },
    });
    await millrace.up();
  });
  after(async () => {
    await millrace?.remove();
    await new Promise<void>((resolve) => server.close(() => resolve()));
  });

  const list = () => millrace.json<MessageSummary[]>("messages", "list");
  const stateOf = async (id: string) => (await list()).find((each) => each.id === id)?.state;

  test("comes back to its sender as a DSN, and every command tells of it", async () => {
    const [id = ""] = (await sendAll(millrace.port, [mail("question", "bob@told.test")])).values();
    const inbox = join(millrace.folder, "inbox/sender@example.test/new");
    await until(() => existsSync(inbox) && readdirSync(inbox).length === 1);
    const file = readFileSync(join(inbox, readdirSync(inbox)[0] as string), "latin1");
    assert.match(file, /^Return-Path: <>\r\n/);
    assert.match(file, /^From: Mail Delivery System <MAILER-DAEMON@mx\.example\.test>\r$/m);
    assert.match(file, /^Final-Recipient: rfc822; bob@told\.test\r\nAction: failed\r\nStatus: 5\.1\.1\r$/m);
    assert.match(file, /^Diagnostic-Code: smtp; 550 5\.1\.1 no such user\r$/m);
    assert.match(file, /^Subject: question\r$/m);

    await until(async () => (await stateOf(id)) === "bounced");
    const dsn = (await list()).find(({ from }) => from === "");
    assert.deepEqual(dsn?.to, ["sender@example.test"]);
    await until(async () => (await stateOf(String(dsn?.id))) === "delivered");
    const shown = await millrace.json<{ parsed: NonNullable<ReturnType<MailStore["parsed"]>> }>(
      "messages",
      "show",
      String(dsn?.id),
    );
    const { from, inReplyTo, text, attachments, defects } = shown.parsed;
    assert.deepEqual(from, [{ name: "Mail Delivery System", address: "MAILER-DAEMON@mx.example.test" }]);
    assert.match(inReplyTo ?? "", /question@example\.test/);
    assert.match(text, /<bob@told\.test>:\s+550 5\.1\.1 no such user/);
    assert.ok(attachments.some(({ contentType }) => contentType === "text/rfc822-headers"));
    assert.deepEqual(defects, []);
    const trace = (await millrace.run(["trace", id])).stdout.toString();
    assert.match(trace, new RegExp(`delivery\\.bounced .*550 5\\.1\\.1 no such user.*DSN ${dsn?.id}`));
    const counts = (await millrace.run(["status"])).stdout.toString();
    assert.match(counts, /bounced +1 /);
  });

  test("is a dead letter by default, and nobody is told", async () => {
    const [id = ""] = (await sendAll(millrace.port, [mail("quiet", "bob@untold.test")])).values();
    await until(async () => (await stateOf(id)) === "failed");
    assert.equal((await list()).filter(({ from }) => from === "").length, 1, "that of the other test");
  });

  test("a schedule that makes no sense is told by its key, its value and the cure", async () => {
    const wrong = new Installation({
      config: {
        routes: [{ recipients: "*", to: { maildir: "x" }, retry: ["5s", "ten"], onFailure: "drop" }],
      },
    });
    try {
      const { stderr, status } = await wrong.run(["config"]);
      assert.notEqual(status, 0);
      assert.match(stderr, /routes\[0\]\.retry\[1\] = "ten": a duration is a number above 0 with its unit/);
      assert.match(stderr, /routes\[0\]\.onFailure = "drop": .*"dead-letter"\|"dsn"/);
    } finally {
      await wrong.remove();
    }
  });
});
