import assert from "node:assert/strict";
import { test } from "node:test";
import { requestFor } from "./testing/request.ts";
import { scripted, serverWith, transportTo } from "./testing/smtp-servers.ts";

test("smtp: the null reverse-path is sent as <>", async () => {
  const server = await scripted();
  await transportTo(server.port).deliver(requestFor({ envelope: { from: "" } }));
  assert.ok(server.lines.includes("MAIL FROM:<>"));
});

test("smtp: BODY=8BITMIME and SIZE are declared where they are known, and the octets stay", async () => {
  const raw = "Subject: x\r\n\r\ngr\u00fc\u00dfe\r\n";
  const { mails, port } = await serverWith({ size: 10_000 });
  await transportTo(port).deliver(requestFor({ raw }));
  await transportTo(port).deliver(requestFor());
  assert.deepEqual(mails[0]?.args, { SIZE: String(Buffer.byteLength(raw)), BODY: "8BITMIME" });
  assert.equal(mails[1]?.args.BODY, undefined);
  assert.equal(mails[0]?.raw, raw);

  const plain = await scripted();
  await transportTo(plain.port).deliver(requestFor({ raw }));
  assert.ok(plain.lines.includes("MAIL FROM:<from@example.com>"));
  assert.equal(plain.messages[0]?.toString(), raw);
});

test("smtp: SMTPUTF8 is declared when the message came with it", async () => {
  const { mails, port } = await serverWith();
  const recipients = ["j\u00fcrgen@x.test"];
  const [outcome] = await transportTo(port).deliver(requestFor({ recipients, envelope: { smtputf8: true } }));
  assert.equal(outcome?.result, "delivered");
  assert.equal(mails[0]?.args.SMTPUTF8, true);
  await transportTo(port).deliver(requestFor({ envelope: { smtputf8: true } }));
  assert.equal(mails[1]?.args.SMTPUTF8, true);
  await transportTo(port).deliver(requestFor());
  assert.equal(mails[2]?.args.SMTPUTF8, undefined);
});

test("smtp: what needs SMTPUTF8 fails with 5.6.7 at a server without, and what does not goes on", async () => {
  const server = await scripted();
  const transport = transportTo(server.port);
  const utf8 = { smtputf8: true };
  const mixed = await transport.deliver(
    requestFor({ envelope: utf8, recipients: ["j\u00fcrgen@x.test", "plain@x.test"] }),
  );
  assert.deepEqual(
    mixed.map(({ result, status }) => [result, status]),
    [
      ["failed", "5.6.7"],
      ["delivered", "2.0.0"],
    ],
  );
  const header = requestFor({ envelope: utf8, raw: "Subject: gr\u00fc\u00dfe\r\n\r\nx\r\n" });
  assert.equal((await transport.deliver(header))[0]?.status, "5.6.7");
  const large = requestFor({ envelope: utf8, size: 1e9, raw: "Subject: gr\u00fc\u00dfe\r\n\r\nx\r\n" });
  assert.equal((await transport.deliver(large))[0]?.status, "5.6.7");
  const sender = requestFor({ envelope: { ...utf8, from: "j\u00fcrgen@x.test" } });
  assert.equal((await transport.deliver(sender))[0]?.status, "5.6.7");
  const body = requestFor({ envelope: utf8, raw: "Subject: x\r\n\r\ngr\u00fc\u00dfe\r\n" });
  assert.equal((await transport.deliver(body))[0]?.result, "delivered");
});

test("smtp: an address cannot leave its brackets", async () => {
  const server = await scripted();
  const bad = ["a@x>\r\nRCPT TO:<b@x", "a> NOTIFY=NEVER", "a\0@x.test", "", '"a\nb"@x.test', '"a>b"@x.test'];
  const good = ['"a b"@x.test', "a+b@x.test"];
  const outcomes = await transportTo(server.port).deliver(requestFor({ recipients: [...bad, ...good] }));
  assert.deepEqual(
    outcomes.map(({ result, status }) => [result, status]),
    [...bad.map(() => ["failed", "5.1.3"]), ...good.map(() => ["delivered", "2.0.0"])],
  );
  assert.deepEqual(
    server.lines.filter((line) => line.startsWith("RCPT")),
    good.map((address) => `RCPT TO:<${address}>`),
  );
  const [sender] = await transportTo(server.port).deliver(requestFor({ envelope: { from: "a@x>\r\nQUIT" } }));
  assert.equal(sender?.status, "5.1.7");
});

test("smtp: more recipients than every server takes go in several transactions", async () => {
  const server = await scripted();
  const recipients = Array.from({ length: 230 }, (_, at) => `r${at}@x.test`);
  const outcomes = await transportTo(server.port).deliver(requestFor({ recipients }));
  assert.deepEqual(
    outcomes.map(({ recipient }) => recipient),
    recipients,
  );
  assert.ok(outcomes.every(({ result }) => result === "delivered"));
  assert.equal(server.messages.length, 3);
  assert.equal(server.connections(), 1);
});
