import assert from "node:assert/strict";
import { test } from "node:test";
import type { RecipientOutcome } from "../transport.ts";
import { lmtpTransport } from "./lmtp.ts";
import { requestFor } from "./testing/request.ts";
import type { Answer } from "./testing/scripted-server.ts";
import { atEnd, scripted, transportTo } from "./testing/smtp-servers.ts";

/** What becomes of a message when one command (`""` is the greeting, `.` the end of the message) is answered so. */
async function outcomeWhen(command: string, answer: Answer): Promise<RecipientOutcome> {
  const server = await scripted((line) =>
    line === command || line.split(" ")[0] === command ? answer : undefined,
  );
  const [outcome] = await transportTo(server.port).deliver(requestFor());
  return outcome as RecipientOutcome;
}

const closing = (reply: string): Answer => ({ reply, thenClose: true });

for (const [command, answer, result, code, sick] of [
  // The connection: never a verdict on the message.
  ["", closing("421 4.3.2 too busy"), "deferred", "421", true],
  ["", closing("554 5.7.1 no mail here"), "deferred", "554", true],
  ["", closing("450 4.7.1 greylisted"), "deferred", "450", true],
  ["EHLO", closing("421 4.3.2 shutting down"), "deferred", "421", true],
  ["", closing(""), "deferred", "CLOSED", true],
  // The message and the recipient: 4xx later, 5xx never.
  ["MAIL", "451 4.3.0 later", "deferred", "451", undefined],
  ["MAIL", "550 5.7.1 not from you", "failed", "550", undefined],
  ["MAIL", "552 5.3.4 too large", "failed", "552", undefined],
  ["RCPT", "450 4.2.1 busy", "deferred", "450", undefined],
  ["RCPT", "550 5.1.1 unknown", "failed", "550", undefined],
  ["RCPT", "551 5.1.6 moved", "failed", "551", undefined],
  ["DATA", "451 4.3.0 later", "deferred", "451", undefined],
  ["DATA", "554 5.5.1 no valid recipients", "failed", "554", undefined],
  [".", "452 4.3.1 disk full", "deferred", "452", undefined],
  [".", "550 5.7.1 spam", "failed", "550", undefined],
  [".", "552 5.2.2 mailbox full", "failed", "552", undefined],
  // Too many recipients, as servers of old put it (RFC 5321 §4.5.3.1.10).
  ["RCPT", "552 too many recipients", "deferred", "552", undefined],
  ["RCPT", "552 5.5.3 too many recipients", "deferred", "552", undefined],
  ["RCPT", "552 5.3.4 message too large", "failed", "552", undefined],
  // A word on the order of commands is none on the message.
  ["MAIL", "503 5.5.1 EHLO first", "deferred", "503", undefined],
  // Closing, at whichever command (RFC 5321 §3.8).
  ["MAIL", closing("421 4.3.2 shutting down"), "deferred", "421", true],
  ["RCPT", closing("421 4.3.2 shutting down"), "deferred", "421", true],
  ["DATA", closing("421 4.3.2 shutting down"), "deferred", "421", true],
  [".", closing("421 4.3.2 shutting down"), "deferred", "421", true],
] as const) {
  const said = typeof answer === "string" ? answer : (answer as { reply: string }).reply || "a hang-up";
  const place = { "": "the greeting", ".": "the message" }[command as string] ?? command;
  test(`smtp: ${said} to ${place} is ${result}${sick ? ", and the server's own trouble" : ""}`, async () => {
    const outcome = await outcomeWhen(command, answer);
    assert.deepEqual([outcome.result, outcome.code, outcome.sick], [result, code, sick]);
  });
}

test("smtp: a server that cannot be reached is in trouble", async () => {
  const server = await scripted();
  await server.close();
  const [outcome] = await transportTo(server.port).deliver(requestFor());
  assert.deepEqual([outcome?.result, outcome?.code, outcome?.sick], ["deferred", "ECONNREFUSED", true]);
});

test("smtp: an attempt that we broke off says nothing about the server", async () => {
  const server = await scripted((line) => (line.startsWith("MAIL") ? "" : undefined), []);
  const controller = new AbortController();
  const delivering = transportTo(server.port).deliver(requestFor({ signal: controller.signal }));
  await server.said("MAIL FROM:<from@example.com>");
  controller.abort();
  const [outcome] = await delivering;
  assert.deepEqual([outcome?.result, outcome?.code, outcome?.sick], ["deferred", "ABORTED", undefined]);
});

test("lmtp: 552 is about the number of recipients only at RCPT", async () => {
  const server = await scripted((line) => {
    if (line === "RCPT TO:<many@x.test>") return "552 too many recipients";
    return line === "." ? "552 5.2.2 mailbox full" : undefined;
  });
  const transport = lmtpTransport({ lmtp: `127.0.0.1:${server.port}` }, { hostname: "mx.example.test" });
  atEnd(() => transport.close());
  const outcomes = await transport.deliver(requestFor({ recipients: ["full@x.test", "many@x.test"] }));
  assert.deepEqual(
    outcomes.map(({ recipient, result }) => [recipient, result]),
    [
      ["full@x.test", "failed"],
      ["many@x.test", "deferred"],
    ],
  );
});
