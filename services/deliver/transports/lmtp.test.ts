import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { after, test } from "node:test";
import { SMTPServer } from "smtp-server";
import { lmtpTransport } from "./lmtp.ts";
import { requestFor } from "./testing/request.ts";
import { type Answer, startScriptedServer } from "./testing/scripted-server.ts";

const ends: (() => unknown)[] = [];
after(async () => {
  for (const end of ends.reverse()) await end();
});

function transportTo(lmtp: string) {
  const transport = lmtpTransport({ lmtp }, { hostname: "mx.example.test" });
  ends.push(() => transport.close());
  return transport;
}

async function scripted(answer?: (line: string) => Answer) {
  const server = await startScriptedServer(answer);
  ends.push(() => server.close());
  return server;
}

/** A real LMTP server that takes what does not contain "full", at a port or a path. */
async function serverAt(where: number | string) {
  const mails: string[] = [];
  const server = new SMTPServer({
    lmtp: true,
    logger: false,
    disabledCommands: ["AUTH", "STARTTLS"],
    disableReverseLookup: true,
    onData(stream, { envelope }, done) {
      text(stream).then((raw) => {
        mails.push(raw);
        const answers = envelope.rcptTo.map(({ address }) =>
          address.includes("full")
            ? Object.assign(new Error("mailbox full"), { responseCode: 452 })
            : `kept for ${address}`,
        );
        // The types know of one answer; LMTP has one for each recipient.
        done(null, answers as unknown as string);
      }, done);
    },
  });
  server.on("error", () => {});
  if (typeof where === "number") server.listen(where, "127.0.0.1");
  else server.server.listen(where);
  await once(server.server, "listening");
  ends.push(() => new Promise<void>((resolve) => server.close(() => resolve())));
  return { mails, address: server.server.address() as AddressInfo };
}

test("lmtp: each recipient has the server's own answer", async () => {
  const { mails, address } = await serverAt(0);
  const recipients = ["a@x.test", "full@x.test", "b@x.test"];
  const transport = transportTo(`127.0.0.1:${address.port}`);
  for (let at = 1; at <= 2; at++) {
    const outcomes = await transport.deliver(requestFor({ recipients }));
    assert.deepEqual(
      outcomes.map(({ recipient, result, reply }) => [recipient, result, reply]),
      [
        ["a@x.test", "delivered", "250 kept for a@x.test"],
        ["full@x.test", "deferred", "452 mailbox full"],
        ["b@x.test", "delivered", "250 kept for b@x.test"],
      ],
    );
    assert.equal(mails.length, at);
  }
});

test("lmtp: a unix socket will do", async () => {
  const folder = await mkdtemp(join(tmpdir(), "millrace-lmtp-"));
  ends.unshift(() => rm(folder, { recursive: true }));
  const path = join(folder, "lmtp.sock");
  const { mails } = await serverAt(path);
  for (const lmtp of [path, `unix:${path}`]) {
    const [outcome] = await transportTo(lmtp).deliver(requestFor());
    assert.equal(outcome?.result, "delivered");
  }
  assert.equal(mails.length, 2);
});

test("lmtp: refusals at RCPT and refusals of the message stand side by side", async () => {
  const server = await scripted((line) => {
    if (line === "RCPT TO:<never@x.test>") return "550 5.1.1 no such user";
    return line === "." ? "250 2.0.0 one\r\n550 5.7.1 not this message\r\n451 4.0.0 busy" : undefined;
  });
  const recipients = ["one@x.test", "never@x.test", "two@x.test", "three@x.test"];
  const outcomes = await transportTo(`127.0.0.1:${server.port}`).deliver(requestFor({ recipients }));
  assert.deepEqual(
    outcomes.map(({ result, reply }) => [result, reply]),
    [
      ["delivered", "250 2.0.0 one"],
      ["failed", "550 5.1.1 no such user"],
      ["failed", "550 5.7.1 not this message"],
      ["deferred", "451 4.0.0 busy"],
    ],
  );
  assert.ok(server.lines.includes("LHLO mx.example.test"));
});

test("lmtp: those who had their answer before the connection broke keep it", async () => {
  const server = await scripted((line) =>
    line === "." ? { reply: "250 2.0.0 kept\r\n550 5.7.1 no", thenClose: true } : undefined,
  );
  const recipients = ["a@x.test", "b@x.test", "c@x.test"];
  const outcomes = await transportTo(`127.0.0.1:${server.port}`).deliver(requestFor({ recipients }));
  assert.deepEqual(
    outcomes.map(({ result, code }) => [result, code]),
    [
      ["delivered", "250"],
      ["failed", "550"],
      ["deferred", "CLOSED"],
    ],
  );
});

test("lmtp: nobody there is deferred under the errno", async () => {
  const [outcome] = await transportTo("/nowhere/lmtp.sock").deliver(requestFor());
  assert.deepEqual([outcome?.result, outcome?.code], ["deferred", "ENOENT"]);
});

test("lmtp: an address that is none is an error that says what to write", () => {
  assert.throws(
    () => lmtpTransport({ lmtp: "a:b:c" }, { hostname: "x" }),
    /a:b:c is no address: write host:port/,
  );
});
