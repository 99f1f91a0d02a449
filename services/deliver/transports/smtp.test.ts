import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { type AddressInfo, createServer } from "node:net";
import { Readable } from "node:stream";
import { text } from "node:stream/consumers";
import { after, test } from "node:test";
import { SMTPServer, type SMTPServerOptions } from "smtp-server";
import type { Transport } from "../transport.ts";
import { type SmtpConfig, smtpTransport } from "./smtp.ts";
import { selfSigned } from "./testing/certificate.ts";
import { requestFor } from "./testing/request.ts";
import { type Answer, startScriptedServer } from "./testing/scripted-server.ts";

const ends: (() => unknown)[] = [];
after(async () => {
  for (const end of ends.reverse()) await end();
});

/** A real server, and what it took in. */
async function serverWith(options: SMTPServerOptions = {}) {
  const mails: {
    raw: string;
    from: unknown;
    to: string[];
    secure: boolean;
    user: unknown;
    helo: string;
    args: Record<string, unknown>;
  }[] = [];
  const server = new SMTPServer({
    disabledCommands: ["AUTH", "STARTTLS"],
    logger: false,
    disableReverseLookup: true,
    onData(stream, { envelope, secure, user, hostNameAppearsAs }, done) {
      text(stream).then((raw) => {
        const from = envelope.mailFrom;
        mails.push({
          raw,
          from: from ? from.address : "",
          args: from ? { ...from.args } : {},
          to: envelope.rcptTo.map(({ address }) => address),
          secure,
          user,
          helo: String(hostNameAppearsAs),
        });
        done(null, `taken as ${mails.length}`);
      }, done);
    },
    ...options,
  });
  server.on("error", () => {});
  server.listen(0, "127.0.0.1");
  await once(server.server, "listening");
  ends.push(() => new Promise<void>((resolve) => server.close(() => resolve())));
  return { mails, port: (server.server.address() as AddressInfo).port, server };
}

async function scripted(answer?: (line: string) => Answer, extensions?: string[]) {
  const server = await startScriptedServer(answer, extensions);
  ends.push(() => server.close());
  return server;
}

function transportTo(port: number, config: Partial<SmtpConfig> = {}): Transport {
  const transport = smtpTransport(
    { smtp: `smtp://127.0.0.1:${port}`, ...config },
    { hostname: "mx.example.test" },
  );
  ends.push(() => transport.close());
  return transport;
}

const certificate = selfSigned();
const withTls = { ...certificate, disabledCommands: ["AUTH"] };

test("smtp: a message arrives octet by octet, under our name, for all recipients at once", async () => {
  const { mails, port } = await serverWith();
  const raw = "Subject: dots\r\n\r\n.\r\n..two\r\nend without line end";
  const outcomes = await transportTo(port).deliver(requestFor({ raw, recipients: ["a@x.test", "b@x.test"] }));
  assert.deepEqual(outcomes, [
    {
      recipient: "a@x.test",
      result: "delivered",
      reply: "250 taken as 1",
      code: "250",
    },
    {
      recipient: "b@x.test",
      result: "delivered",
      reply: "250 taken as 1",
      code: "250",
    },
  ]);
  assert.equal(mails.length, 1);
  assert.equal(mails[0]?.raw, `${raw}\r\n`);
  assert.equal(mails[0]?.from, "from@example.com");
  assert.deepEqual(mails[0]?.to, ["a@x.test", "b@x.test"]);
  assert.equal(mails[0]?.helo, "mx.example.test");
});

test("smtp: a large message is streamed and arrives whole", async () => {
  const hash = createHash("sha256");
  const { port } = await serverWith({
    onData(stream, _session, done) {
      stream.on("data", (chunk) => hash.update(chunk)).on("end", () => done());
    },
  });
  const raw = Buffer.from(`Subject: large\r\n\r\n${".line of a large message\r\n".repeat(40_000)}`);
  const request = requestFor({ raw });
  request.read = () => Promise.reject(new Error("was read in one piece"));
  const [outcome] = await transportTo(port).deliver(request);
  assert.equal(outcome?.result, "delivered");
  assert.equal(hash.digest("hex"), createHash("sha256").update(raw).digest("hex"));
});

test("smtp: the null reverse-path is sent as <>", async () => {
  const server = await scripted();
  await transportTo(server.port).deliver(requestFor({ envelope: { from: "" } }));
  assert.ok(server.lines.includes("MAIL FROM:<>"));
});

test("smtp: messages one after the other share a connection, messages at once do not wait", async () => {
  const server = await scripted();
  const transport = transportTo(server.port);
  for (let at = 0; at < 5; at++) await transport.deliver(requestFor());
  assert.equal(server.connections(), 1);
  await Promise.all(Array.from({ length: 4 }, () => transport.deliver(requestFor())));
  assert.equal(server.connections(), 4);
  assert.equal(server.messages.length, 9);
});

for (const extensions of [["PIPELINING"], []]) {
  const way = extensions.length > 0 ? "in one go" : "one by one";

  test(`smtp: each recipient has its own outcome, commands sent ${way}`, async () => {
    const server = await scripted((line) => {
      if (line === "RCPT TO:<later@x.test>") return "450-4.2.1 mailbox busy\r\n450 4.2.1 try later";
      if (line === "RCPT TO:<never@x.test>") return "550 5.1.1 no such user";
      return undefined;
    }, extensions);
    const transport = transportTo(server.port);
    const recipients = ["yes@x.test", "later@x.test", "never@x.test", "also@x.test"];
    assert.deepEqual(await transport.deliver(requestFor({ recipients })), [
      { recipient: "yes@x.test", result: "delivered", reply: "250 2.0.0 ok", code: "250", status: "2.0.0" },
      {
        recipient: "later@x.test",
        result: "deferred",
        reply: "450 4.2.1 mailbox busy try later",
        code: "450",
        status: "4.2.1",
      },
      {
        recipient: "never@x.test",
        result: "failed",
        reply: "550 5.1.1 no such user",
        code: "550",
        status: "5.1.1",
      },
      { recipient: "also@x.test", result: "delivered", reply: "250 2.0.0 ok", code: "250", status: "2.0.0" },
    ]);
    assert.equal(server.messages.length, 1);
  });

  test(`smtp: what refuses the message keeps what was said of recipients before, ${way}`, async () => {
    const server = await scripted((line) => {
      if (line === "RCPT TO:<never@x.test>") return "550 5.1.1 no such user";
      return line === "." ? "452 4.3.1 disk full" : undefined;
    }, extensions);
    const outcomes = await transportTo(server.port).deliver(
      requestFor({ recipients: ["never@x.test", "yes@x.test"] }),
    );
    assert.deepEqual(
      outcomes.map(({ result, code }) => [result, code]),
      [
        ["failed", "550"],
        ["deferred", "452"],
      ],
    );
  });

  test(`smtp: a refused MAIL, RCPT or DATA leaves the connection fit for the next message, ${way}`, async () => {
    let refuse = "";
    const server = await scripted(
      (line) => (refuse && line.startsWith(refuse) ? "554 5.7.1 not from you" : undefined),
      extensions,
    );
    const transport = transportTo(server.port);
    for (refuse of ["RCPT", "DATA"]) {
      const [outcome] = await transport.deliver(requestFor());
      assert.deepEqual([outcome?.result, outcome?.reply], ["failed", "554 5.7.1 not from you"]);
    }
    refuse = "";
    assert.equal((await transport.deliver(requestFor()))[0]?.result, "delivered");
    refuse = "MAIL";
    assert.equal((await transport.deliver(requestFor()))[0]?.reply, "554 5.7.1 not from you");
    refuse = "";
    const outcomes = await transport.deliver(requestFor());
    assert.equal(outcomes[0]?.result, "delivered");
    assert.equal(server.messages.filter((message) => message.length > 0).length, 2);
  });

  test(`smtp: the end of the connection after the final dot is deferred, ${way}`, async () => {
    const server = await scripted(
      (line) => (line === "." ? { reply: "", thenClose: true } : undefined),
      extensions,
    );
    const [outcome] = await transportTo(server.port).deliver(requestFor());
    assert.deepEqual([outcome?.result, outcome?.code], ["deferred", "CLOSED"]);
    assert.equal(server.connections(), 1);
  });
}

for (const [where, result] of [
  ["", "deferred"],
  ["MAIL", "deferred"],
  ["RCPT", "deferred"],
  ["DATA", "deferred"],
  [".", "deferred"],
]) {
  test(`smtp: 421 at ${where || "the greeting"} is ${result}`, async () => {
    const server = await scripted((line) =>
      (where ? line.startsWith(where) : line === "")
        ? { reply: "421 4.3.2 shutting down", thenClose: true }
        : undefined,
    );
    const [outcome] = await transportTo(server.port).deliver(requestFor());
    assert.equal(outcome?.result, result);
    assert.equal(outcome?.code, "421");
    assert.match(outcome?.reply ?? "", /421 4\.3\.2 shutting down/);
  });
}

test("smtp: a transaction that was left is reset before the next, since servers insist", async () => {
  const { mails, port } = await serverWith({
    onRcptTo: ({ address }, _session, done) =>
      done(address.startsWith("no") ? new Error("no such user") : null),
  });
  const transport = transportTo(port);
  for (const [recipient, result] of [
    ["no@x.test", "failed"],
    ["yes@x.test", "delivered"],
  ] as const)
    assert.equal((await transport.deliver(requestFor({ recipients: [recipient] })))[0]?.result, result);
  assert.equal(mails.length, 1);
});

test("smtp: a kept connection that has died meanwhile costs the message nothing", async () => {
  const server = await scripted();
  const transport = transportTo(server.port);
  await transport.deliver(requestFor());
  server.hangUp();
  const [outcome] = await transport.deliver(requestFor());
  assert.equal(outcome?.result, "delivered");
  assert.equal(server.connections(), 2);
});

test("smtp: a server that wants no more messages over a connection gets another connection", async () => {
  let messages = 0;
  const server = await scripted((line) => {
    if (line === ".") messages++;
    return messages === 1 && line.startsWith("MAIL") && ++messages
      ? { reply: "421 4.7.0 too many messages", thenClose: true }
      : undefined;
  });
  const transport = transportTo(server.port);
  await transport.deliver(requestFor());
  assert.equal((await transport.deliver(requestFor()))[0]?.result, "delivered");
  assert.equal(server.connections(), 2);
});

test("smtp: a server that takes DATA for nobody is sent nothing", async () => {
  const server = await scripted((line) => (line.startsWith("RCPT") ? "550 5.1.1 nobody" : undefined));
  const transport = transportTo(server.port);
  assert.equal((await transport.deliver(requestFor()))[0]?.code, "550");
  assert.equal(server.messages.length, 0);
  assert.equal((await transport.deliver(requestFor()))[0]?.code, "550");
  assert.equal(server.connections(), 2);
});

test("smtp: a refusal in the middle of a large message counts", async () => {
  const server = createServer((socket) => {
    socket.on("error", () => {});
    socket.write("220 ready\r\n");
    let refused = false;
    socket.on("data", (chunk) => {
      const line = chunk.toString("latin1");
      if (line.startsWith("EHLO")) socket.write("250 ready\r\n");
      else if (/^(MAIL|RCPT)/.test(line)) socket.write("250 ok\r\n");
      else if (line.startsWith("DATA")) socket.write("354 go on\r\n");
      else if (!refused) {
        refused = true;
        socket.write("552 5.3.4 too large\r\n");
      }
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  ends.push(() => server.close());
  const request = requestFor({ size: 1e9 });
  // Without end: only the refusal can stop it.
  request.raw = async () =>
    Readable.from(
      (function* () {
        for (;;) yield Buffer.alloc(65_536, "x");
      })(),
      { objectMode: false },
    );
  const [outcome] = await transportTo((server.address() as AddressInfo).port).deliver(request);
  assert.deepEqual([outcome?.result, outcome?.reply], ["failed", "552 5.3.4 too large"]);
});

test("smtp: a message that cannot be read to its end is never ended", async () => {
  const server = await scripted();
  const request = requestFor({ size: 1e9 });
  request.raw = async () =>
    Readable.from(
      (function* () {
        yield Buffer.from("Subject: half\r\n\r\nhal");
        throw new Error("EIO");
      })(),
      { objectMode: false },
    );
  const transport = transportTo(server.port);
  await assert.rejects(transport.deliver(request), /EIO/);
  // The next message has a connection of its own, and is the only one the server has taken.
  assert.equal((await transport.deliver(requestFor()))[0]?.result, "delivered");
  assert.equal(server.messages.length, 1);
  assert.equal(server.connections(), 2);
});

test("smtp: nobody there is deferred under the errno", async () => {
  const { port, server } = await serverWith();
  await new Promise<void>((resolve) => server.close(() => resolve()));
  const [outcome] = await transportTo(port).deliver(requestFor());
  assert.deepEqual([outcome?.result, outcome?.code], ["deferred", "ECONNREFUSED"]);
  assert.match(outcome?.reply ?? "", new RegExp(`127\\.0\\.0\\.1:${port}`));
});

test("smtp: a host without an address is deferred", async () => {
  const transport = smtpTransport({ smtp: "smtp://nowhere.invalid" }, { hostname: "mx.example.test" });
  const [outcome] = await transport.deliver(requestFor());
  assert.equal(outcome?.result, "deferred");
  assert.match(outcome?.code ?? "", /^(ENOTFOUND|EAI_AGAIN)$/);
});

test("smtp: what is no SMTP server is deferred", async () => {
  const server = await scripted((line) => (line === "" ? "HTTP/1.1 400 Bad Request" : undefined));
  const [outcome] = await transportTo(server.port).deliver(requestFor());
  assert.deepEqual([outcome?.result, outcome?.code], ["deferred", "PROTOCOL"]);
});

test("smtp: a server that answers out of step has taken nothing", async () => {
  for (const command of ["MAIL", "RCPT", "DATA"]) {
    const server = await scripted((line) =>
      line.startsWith(command) ? (command === "DATA" ? "250 2.0.0 delivered" : "354 go on") : undefined,
    );
    const [outcome] = await transportTo(server.port).deliver(requestFor());
    assert.deepEqual([outcome?.result, outcome?.code], ["deferred", "PROTOCOL"], command);
  }
});

test("smtp: a reply without end is cut off", async () => {
  const server = await scripted((line) => (line === "" ? `220-${"x".repeat(70_000)}` : undefined));
  const [outcome] = await transportTo(server.port).deliver(requestFor());
  assert.deepEqual([outcome?.result, outcome?.code], ["deferred", "PROTOCOL"]);
});

test("smtp: a reply's control characters do not come out again", async () => {
  const server = await scripted((line) =>
    line.startsWith("RCPT") ? "550 5.1.1 \u001b[2Jgone\u0007\u202e" : undefined,
  );
  const [outcome] = await transportTo(server.port).deliver(requestFor());
  assert.equal(outcome?.reply, "550 5.1.1 [2Jgone");
});

test("smtp: the signal breaks off an attempt that hangs, wherever it hangs", async () => {
  for (const where of ["", "EHLO", "MAIL", "."]) {
    const silent = (line: string) => ((where ? line.startsWith(where) : line === "") ? "" : undefined);
    const server = await scripted(silent, []);
    const [outcome] = await transportTo(server.port).deliver(
      requestFor({ signal: AbortSignal.timeout(100) }),
    );
    assert.deepEqual([outcome?.result, outcome?.code], ["deferred", "ABORTED"], where);
  }
});

test("smtp: STARTTLS is used when offered, and any certificate will do", async () => {
  const { mails, port } = await serverWith(withTls);
  const [outcome] = await transportTo(port).deliver(requestFor());
  assert.equal(outcome?.result, "delivered");
  assert.equal(mails[0]?.secure, true);
});

test("smtp: with tls off STARTTLS is left alone", async () => {
  const { mails, port } = await serverWith(withTls);
  await transportTo(port, { tls: "off" }).deliver(requestFor());
  assert.equal(mails[0]?.secure, false);
});

test("smtp: opportunistic goes on in clear where TLS does not work", async () => {
  for (const answer of ["454 4.7.0 not now", { reply: "220 go on", thenClose: true as const }]) {
    const server = await scripted((line) => (line === "STARTTLS" ? answer : undefined), ["STARTTLS"]);
    const [outcome] = await transportTo(server.port).deliver(requestFor());
    assert.equal(outcome?.result, "delivered");
    assert.equal(server.lines.filter((line) => line === "STARTTLS").length, 1);
  }
});

test("smtp: required without STARTTLS is deferred, and nothing is sent", async () => {
  const server = await scripted();
  const [outcome] = await transportTo(server.port, { tls: "required" }).deliver(requestFor());
  assert.deepEqual([outcome?.result, outcome?.code], ["deferred", "TLS"]);
  assert.deepEqual(
    server.lines.filter((line) => line.startsWith("MAIL")),
    [],
  );
});

test("smtp: required checks the certificate, unless insecureTls", async () => {
  const { mails, port } = await serverWith(withTls);
  const [outcome] = await transportTo(port, { tls: "required" }).deliver(requestFor());
  assert.deepEqual([outcome?.result, outcome?.code], ["deferred", "TLS"]);
  assert.match(outcome?.reply ?? "", /self-signed/);
  await transportTo(port, { tls: "required", insecureTls: true }).deliver(requestFor());
  assert.equal(mails.length, 1);
});

test("smtp: smtps is encrypted from the start, and checks the certificate, unless insecureTls", async () => {
  const { mails, port } = await serverWith({ ...withTls, secure: true });
  const smtp = `smtps://127.0.0.1:${port}`;
  const [outcome] = await transportTo(port, { smtp }).deliver(requestFor());
  assert.deepEqual([outcome?.result, outcome?.code], ["deferred", "TLS"]);
  await transportTo(port, { smtp, insecureTls: true }).deliver(requestFor());
  assert.equal(mails[0]?.secure, true);
});

test("smtp: what is said in clear behind STARTTLS is not listened to", async () => {
  const server = await scripted(
    (line) => (line === "STARTTLS" ? "220 go on\r\n250 AUTH PLA" : undefined),
    ["STARTTLS"],
  );
  const [outcome] = await transportTo(server.port, { tls: "required" }).deliver(requestFor());
  assert.deepEqual([outcome?.result, outcome?.code], ["deferred", "PROTOCOL"]);
});

const auth: SMTPServerOptions = {
  ...certificate,
  disabledCommands: [],
  onAuth: ({ username, password }, _session, done) =>
    username === "u@x" && password === "p:w" ? done(null, { user: "u" }) : done(new Error("no")),
};

test("smtp: user and password are sent over TLS, by PLAIN or LOGIN", async () => {
  for (const authMethods of [["PLAIN"], ["LOGIN"]]) {
    const { mails, port } = await serverWith({ ...auth, authMethods });
    const [outcome] = await transportTo(port, {
      smtp: `smtp://u%40x@127.0.0.1:${port}`,
      password: "p:w",
    }).deliver(requestFor());
    assert.equal(outcome?.result, "delivered");
    assert.equal(mails[0]?.user, "u");
  }
});

test("smtp: a refused password is deferred", async () => {
  const { port } = await serverWith(auth);
  const [outcome] = await transportTo(port, { smtp: `smtp://u%40x:wrong@127.0.0.1:${port}` }).deliver(
    requestFor(),
  );
  assert.deepEqual([outcome?.result, outcome?.code], ["deferred", "AUTH"]);
  assert.match(outcome?.reply ?? "", /535/);
  assert.doesNotMatch(outcome?.reply ?? "", /wrong/);
});

test("smtp: a password does not go in clear, unless tls is off", async () => {
  const server = await scripted(
    (line) => (line.startsWith("AUTH") ? "235 2.7.0 welcome" : undefined),
    ["AUTH PLAIN"],
  );
  const smtp = `smtp://u:p@127.0.0.1:${server.port}`;
  const [refused] = await transportTo(server.port, { smtp }).deliver(requestFor());
  assert.deepEqual([refused?.result, refused?.code], ["deferred", "TLS"]);
  assert.ok(!server.lines.some((line) => line.startsWith("AUTH")));
  const [taken] = await transportTo(server.port, { smtp, tls: "off" }).deliver(requestFor());
  assert.equal(taken?.result, "delivered");
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
  const bad = ["a@x>\r\nRCPT TO:<b@x", "a> NOTIFY=NEVER", "a\0@x.test", "", '"a\nb"@x.test'];
  const good = ['"a>b c"@x.test', "a+b@x.test"];
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

test("smtp: an old server without EHLO is greeted with HELO", async () => {
  const server = await scripted((line) => (line.startsWith("EHLO") ? "502 5.5.1 what?" : undefined));
  const [outcome] = await transportTo(server.port).deliver(requestFor());
  assert.equal(outcome?.result, "delivered");
  assert.ok(server.lines.includes("HELO mx.example.test"));
});
