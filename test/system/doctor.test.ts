import assert from "node:assert/strict";
import { once } from "node:events";
import { type AddressInfo, createServer, type Server, type Socket } from "node:net";
import { after, describe, test } from "node:test";
import { diagnose } from "../support/doctor.ts";
import { closedPort, freePort } from "../support/free-port.ts";
import { Installation } from "../support/millrace.ts";

describe("millrace doctor before an edge that is no edge, or takes anything", () => {
  const nowhere = new Installation();
  const held: Socket[] = [];
  const servers: Server[] = [];
  after(async () => {
    for (const socket of held) socket.destroy();
    for (const server of servers) server.close();
    await nowhere.remove();
  });

  async function serve(each: (socket: Socket) => void): Promise<string> {
    const server = createServer((socket) => {
      held.push(socket.on("error", () => {}));
      each(socket);
    });
    servers.push(server);
    await once(server.listen(0, "127.0.0.1"), "listening");
    return `127.0.0.1:${(server.address() as AddressInfo).port}`;
  }

  for (const [what, each] of [
    ["says nothing", () => {}],
    [
      "says a little, for ever",
      (socket: Socket) => {
        const timer = setInterval(() => socket.write("2"), 100);
        socket.on("close", () => clearInterval(timer));
      },
    ],
    ["speaks another language", (socket: Socket) => socket.write("SSH-2.0-OpenSSH_9.2\r\n")],
    ["hangs up", (socket: Socket) => socket.destroy()],
  ] as [string, (socket: Socket) => void][]) {
    test(`one that ${what} cannot hold it up`, { timeout: 60_000 }, async () => {
      const { failed } = await diagnose(nowhere, [await serve(each), "--timeout", "2"]);
      assert.deepEqual(failed, ["greeting"]);
    });
  }

  const replies =
    (banner: string, answers: Record<string, string>) =>
    (socket: Socket): void => {
      socket.write(`${banner}\r\n`);
      socket.setEncoding("utf8").on("data", (text: string) => {
        for (const line of text.trim().split("\r\n"))
          socket.write(`${answers[line.split(" ")[0] as string] ?? "250 ok"}\r\n`);
      });
    };

  test("one that does not offer AUTH in the clear, and takes it all the same", async () => {
    const server = await serve(replies("220 mx.example.test", { AUTH: "334 ", RCPT: "550 5.7.1 no" }));
    const { failed, of } = await diagnose(nowhere, [server]);
    assert.deepEqual(failed, ["auth"]);
    assert.match(of("auth").seen, /not offered in the clear, and yet taken: 334/);
    assert.match(of("open relay").seen, /^7 ways to foreign recipients refused \(550 5\.7\.1 no\)/);
    assert.equal(of("size").status, "warning");
  });

  test("one that greets and then says nothing more", async () => {
    const server = await serve((socket) => socket.write("220 mx.example.test\r\n"));
    const { failed, of } = await diagnose(nowhere, [server, "--timeout", "2"]);
    assert.deepEqual(failed, ["greeting"]);
    assert.equal(of("greeting").seen, "it greeted, and then: nothing came within 2 s");
  });

  test("one that takes no more sessions, and one that wants strangers to come again", async () => {
    const full = await diagnose(nowhere, [await serve(replies("421 4.7.0 too many connections", {}))]);
    assert.deepEqual(full.failed, ["greeting"]);
    assert.match(full.of("greeting").cure ?? "", /too many connections \(SMTP_MAX_CLIENTS/);
    const grey = await diagnose(nowhere, [
      await serve(replies("220 mx.example.test", { RCPT: "451 4.7.1 later" })),
    ]);
    assert.deepEqual(grey.failed, []);
    assert.equal(grey.of("open relay").status, "skipped");
  });

  test("an open relay: a route takes every recipient, and sends on", async () => {
    const port = String(await freePort());
    const smarthost = `smtp://127.0.0.1:${closedPort}`;
    const millrace = new Installation({
      config: { hostname: "mx.example.test", routes: [{ recipients: "*", to: { smtp: smarthost } }] },
      env: { SMTP_PORT: port },
    });
    try {
      await millrace.up();
      for (const words of [[], [`127.0.0.1:${port}`]]) {
        const { failed, of } = await diagnose(millrace, words);
        assert.deepEqual(failed, ["open relay"]);
        assert.match(
          of("open relay").seen,
          /strangers may send to strangers: .*example\.org> is taken \(a foreign address, .*a source route/,
        );
        assert.match(of("open relay").cure ?? "", /never "\*" with an smtp target/);
      }
      assert.deepEqual(await millrace.json("messages", "list", "--all"), []);
    } finally {
      await millrace.remove();
    }
  });

  test("a route that takes every recipient into a mailbox is worth a warning to its owner", async () => {
    const millrace = new Installation();
    try {
      await millrace.up();
      const { failed, of } = await diagnose(millrace, []);
      assert.deepEqual(failed, []);
      assert.equal(of("open relay").status, "warning");
      assert.match(of("open relay").seen, /leads to maildir /);
    } finally {
      await millrace.remove();
    }
  });

  test("a name that is none", async () => {
    const none = await diagnose(nowhere, ["no-such-host.invalid", "--timeout", "2"]);
    assert.deepEqual(none.failed, ["dns"]);
  });

  test("what is said wrongly is said so, with status 2 or 1", async () => {
    for (const [words, says] of [
      [["a b"], /"a b" is no host/],
      [["mx.example.com:99999"], /is no host/],
      [["--tls", "off"], /--tls is for a host/],
      [["127.0.0.1:1", "--ca", "/no/such.pem"], /--ca \/no\/such\.pem: ENOENT/],
      [["127.0.0.1:1", "--source", "here"], /--source here is no IP address/],
    ] as [string[], RegExp][]) {
      const { status, stderr } = await nowhere.run(["doctor", ...words]);
      assert.equal(status, 2, stderr);
      assert.match(stderr, says);
    }
  });

  test("text without a terminal has no colours, each cure stands below what it cures, and the last line counts", async () => {
    const { stdout, status } = await nowhere.run(["doctor", `127.0.0.1:${closedPort}`]);
    const text = stdout.toString();
    assert.equal(status, 1);
    assert.ok(!text.includes("\u001b"));
    assert.match(
      text,
      /^ {2}failure {2}port +127\.0\.0\.1:\d+ refuses connections[\s\S]*?\n {30,}→ Start what should/m,
    );
    assert.match(text, /\n1 ok, 0 warning, 1 failure, 0 skipped\n$/);
  });
});
