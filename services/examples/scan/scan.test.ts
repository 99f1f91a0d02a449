import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { after, before, describe, test } from "node:test";
import { TemporaryFailure } from "@millrace/pipeline";
import { freePort } from "@millrace/test/free-port";
import { until } from "@millrace/test/until";
import { type Clamd, eicar, startClamd } from "../testing/clamd.ts";
import { type Rspamd, startRspamd } from "../testing/rspamd.ts";
import { Running } from "../testing/running.ts";
import { scanForViruses, type VirusVerdict } from "./clamd.ts";

/** What every spam filter takes for spam (https://spamassassin.apache.org/gtube/); in two halves, so that none finds it here. */
const gtube = ["XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-", "STANDARD-ANTI-UBE-TEST-EMAIL*C.34X"].join("");
const never = new AbortController().signal;

function mail(to: string, text: string, extra: string[] = []): Buffer {
  const lines = [...extra, "From: ann@example.test", `To: ${to}`, `Subject: For ${to}`, "", text, ""];
  return Buffer.from(lines.join("\r\n"));
}

/** EICAR as an attachment in base64: found only by who takes the mail apart. */
function infected(to: string): Buffer {
  const lines = [
    ...["From: ann@example.test", `To: ${to}`, "Subject: A file", "MIME-Version: 1.0"],
    ...[
      'Content-Type: multipart/mixed; boundary="b"',
      "",
      "--b",
      "Content-Type: text/plain",
      "",
      "See there.",
    ],
    ...[
      "--b",
      'Content-Type: application/octet-stream; name="eicar.com"',
      "Content-Transfer-Encoding: base64",
    ],
    ...[
      'Content-Disposition: attachment; filename="eicar.com"',
      "",
      Buffer.from(eicar).toString("base64"),
      "--b--",
      "",
    ],
  ];
  return Buffer.from(lines.join("\r\n"));
}

const headerOf = (delivered: string) =>
  delivered.slice(0, delivered.indexOf("\r\n\r\n")).replace(/\r\n(?=[ \t])/g, "");

interface Report {
  holds: boolean;
  terminal: Record<string, number>;
}
interface Held {
  id: string;
  by: string;
  reason: string;
  state: string;
  verdicts: { virus?: { name?: string } };
}

describe("scan", () => {
  const folder = mkdtempSync(join(tmpdir(), "mr-clamd-"));
  let rspamd: Rspamd;
  let clamd: Clamd;
  let running: Running;
  before(async () => {
    [rspamd, clamd] = await Promise.all([startRspamd(), startClamd(folder)]);
    running = new Running({
      delivery: { after: "message.cleared" },
      workers: {
        scan: { rspamd: rspamd.url, clamd: clamd.socket },
        authenticate: {
          ...{ authservId: "mx.mill.test", clears: false },
          ...{ nameServers: [`127.0.0.1:${await freePort()}`], dnsSeconds: 0.2 },
        },
      },
    });
    await running.start("scan/scan.ts");
  });
  after(async () => {
    await running?.stop();
    await Promise.all([rspamd?.stop(), clamd?.stop()]);
    rmSync(folder, { recursive: true, force: true });
  });

  const send = (to: string, raw: Buffer) => running.send({ to: [to], raw });
  const audit = () => running.millrace.json<Report>("audit", "--blobs", "content");
  const held = () => running.millrace.json<Held[]>("quarantine", "list");

  test("good mail is delivered with the verdicts, and with none that its sender has written", async () => {
    const forged = [
      "X-Spam-Status: No, score=-100",
      "X-Virus-Status: Clean (says the sender)",
      "x-spam-flag : NO",
    ];
    const raw = mail("good@mill.test", "The wheel turns.", forged);
    await send("good@mill.test", raw);
    const delivered = await running.delivered("good@mill.test");
    const header = headerOf(delivered);
    assert.deepEqual(header.match(/^x-spam-.*$/gim), [
      "X-Spam-Status: No, score=0.00 required=15.00 tests=none",
    ]);
    assert.deepEqual(header.match(/^x-virus-.*$/gim), ["X-Virus-Status: Clean"]);
    assert.ok(delivered.endsWith(mail("good@mill.test", "The wheel turns.").toString()));
  });

  test("spam is tagged and delivered", async () => {
    await send("spam@mill.test", mail("spam@mill.test", gtube));
    const header = headerOf(await running.delivered("spam@mill.test"));
    assert.match(header, /^X-Spam-Flag: YES\r$/m);
    assert.match(header, /^X-Spam-Status: Yes, score=15\.00 required=15\.00 tests=GTUBE\r$/m);
  });

  test("a virus is held back until somebody releases it, and is delivered once then", async () => {
    const id = await send("virus@mill.test", infected("virus@mill.test"));
    await running.reaches(id, "quarantined");
    const [message] = await held();
    assert.deepEqual(
      [message?.id, message?.by, message?.reason, message?.state],
      [id, "clamd", message?.reason, "quarantined"],
    );
    assert.match(message?.reason ?? "", /^virus Eicar-Test/);
    assert.equal(running.deliveredTo("virus@mill.test"), 0);
    const report = await audit();
    assert.deepEqual([report.holds, report.terminal.quarantined], [true, 1]);
    const shown = (await running.millrace.run(["quarantine", "show", id])).stdout.toString();
    assert.match(shown, /reason +virus Eicar-Test/);

    // Neither a replay of deliveries nor a repair is a way around the quarantine.
    const around = ["replay", id, "--worker", "deliver", "--force", "--yes"];
    assert.match((await running.millrace.run(around)).stdout.toString(), /replayed 0 of/);

    const [first, second] = await Promise.all([
      running.millrace.run(["quarantine", "release", id, "--reason", "a test", "--json"]),
      running.millrace.run(["quarantine", "release", id, "--json"]),
    ]);
    const released = [first, second].map(({ status, stdout }) =>
      status === 0 ? (JSON.parse(stdout.toString()) as { released: number }).released : 0,
    );
    assert.deepEqual(released.sort(), [0, 1], "released twice is released once");
    const header = headerOf(await running.delivered("virus@mill.test"));
    assert.match(header, /^X-Virus-Status: Infected \(Eicar-Test/m);
    await running.reaches(id, "delivered");
    const again = await running.millrace.run(["quarantine", "release", id]);
    assert.match(again.stderr, /is not in quarantine/);
    assert.equal(running.deliveredTo("virus@mill.test"), 1);
    assert.equal((await audit()).holds, true);
    const trace = (await running.millrace.run(["trace", id])).stdout.toString();
    assert.match(trace, /quarantine\.released +quarantine .*@/);
  });

  test("where a scanner is down mail waits, the log names it, and goes on when it is back", async () => {
    await clamd.stop();
    const id = await send("late@mill.test", mail("late@mill.test", "Patience."));
    await until(() => running.logged().includes(`clamd at ${clamd.socket} does not scan`));
    assert.equal(await running.stateOf(id), "stored");
    assert.equal((await audit()).holds, true);
    clamd = await startClamd(folder);
    await running.delivered("late@mill.test");
  });

  test("behind authenticate the fields of both go on, and spam is quarantined where that is asked for", async () => {
    running.millrace.env.SCAN_SPAM = "quarantine";
    await running.work("authenticate/authenticate.ts", "scan/scan-authenticated.ts");
    const forged = ["Authentication-Results: mx.mill.test; dmarc=pass"];
    await send("both@mill.test", mail("both@mill.test", "The wheel turns.", forged));
    const header = headerOf(await running.delivered("both@mill.test"));
    assert.match(header, /^X-Virus-Status: Clean\r\nAuthentication-Results: mx\.mill\.test; /m);
    assert.doesNotMatch(header, /dmarc=pass/);

    const id = await send("bulk@mill.test", mail("bulk@mill.test", gtube, forged));
    await running.reaches(id, "quarantined");
    const discarded = await running.millrace.json<{ discarded: number }>(
      "quarantine",
      "discard",
      "--because",
      "gtube",
    );
    assert.equal(discarded.discarded, 1);
    await running.reaches(id, "discarded");
    assert.deepEqual(await held(), []);
    const report = await audit();
    assert.deepEqual([report.holds, report.terminal.discarded], [true, 1]);

    // Somebody thinks better of it: what the first worker left out stays out.
    await running.millrace.json("quarantine", "release", id);
    const late = headerOf(await running.delivered("bulk@mill.test"));
    assert.match(late, /^X-Spam-Flag: YES\r$/m);
    assert.doesNotMatch(late, /dmarc=pass/);
    assert.equal((await audit()).holds, true);
  });

  test("what clamd will not look at is no clean mail", async () => {
    // It hangs up in the middle of it: where its answer is lost over that, the message is scanned again, as by the worker.
    let verdict: VirusVerdict | undefined;
    for (let tries = 1; !verdict; tries++) {
      verdict = await scanForViruses(clamd.socket, Readable.from(pieces(3_000_000)), never).catch((error) => {
        assert.ok(tries < 10 && error instanceof TemporaryFailure, error);
        assert.match(String(error.code), /^(EPIPE|ECONNRESET)$/);
        return undefined;
      });
    }
    assert.deepEqual(verdict, { result: "unscanned", reason: "INSTREAM size limit exceeded. ERROR" });
  });
});

function* pieces(octets: number): Generator<Buffer> {
  for (let left = octets; left > 0; left -= 65_536) yield Buffer.alloc(Math.min(left, 65_536), "x");
}

describe("a scanner that answers oddly", () => {
  const scripted = async (words: string): Promise<{ server: Server; address: string }> => {
    const port = await freePort();
    const server = createServer((socket) => {
      socket.on("error", () => {});
      socket.once("data", () => socket.end(words));
    });
    await new Promise<void>((resolve) => server.listen(port, "127.0.0.1", resolve));
    return { server, address: `127.0.0.1:${port}` };
  };

  for (const words of ["", "stream: OK and more\0", "stream: Access denied. ERROR\0"]) {
    test(`with ${JSON.stringify(words)} counts as one that is down`, async () => {
      const { server, address } = await scripted(words);
      try {
        await assert.rejects(
          scanForViruses(address, Readable.from([Buffer.from("a")]), never),
          (error: Error) => {
            assert.ok(error instanceof TemporaryFailure);
            assert.match(error.message, /^clamd at 127\.0\.0\.1:\d+ does not scan: /);
            return true;
          },
        );
      } finally {
        server.close();
      }
    });
  }
});
