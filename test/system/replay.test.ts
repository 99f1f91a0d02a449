import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, type IncomingMessage, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { resolve } from "node:path";
import { after, before, describe, test } from "node:test";
import type { DeadLetter } from "@millrace/mailstore";
import type { AuditReport } from "@millrace/pipeline/runtime";
import { Installation } from "../support/millrace.ts";
import { mail, sendAll } from "../support/sender.ts";
import { until } from "../support/until.ts";

/** A webhook that counts what it takes by delivery id, and refuses everything for good while it is told to. */
class Webhook {
  readonly taken: string[] = [];
  refusing = true;
  private readonly server: Server = createServer((request, response) => void this.answer(request, response));

  private async answer(request: IncomingMessage, response: { writeHead(code: number): { end(): void } }) {
    for await (const _ of request);
    if (!this.refusing) this.taken.push(String(request.headers["webhook-id"]));
    response.writeHead(this.refusing ? 410 : 204).end();
  }

  async start(): Promise<string> {
    await once(this.server.listen(0, "127.0.0.1"), "listening");
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}/in`;
  }

  async stop(): Promise<void> {
    this.server.closeAllConnections();
    await new Promise((done) => this.server.close(done));
  }
}

describe("dead letters and replay, as an operator uses them", () => {
  const webhook = new Webhook();
  let millrace: Installation;
  const total = 300;

  before(async () => {
    const to = { webhook: await webhook.start(), allowPrivate: true };
    const routes = [
      { recipients: "*@hook.test", to },
      { recipients: "*", to: { maildir: "var/maildir/{recipient}" } },
    ];
    millrace = new Installation({ config: { routes } });
    await millrace.up();
    const mails = Array.from({ length: total }, (_, i) => mail(`m-${i}`, `box${i % 3}@hook.test`));
    await sendAll(millrace.port, [...mails, mail("plain", "someone@else.test")]);
    await until(async () => (await letters()).length === total);
  });
  after(async () => {
    await millrace.remove();
    await webhook.stop();
  });

  const letters = (...args: string[]) =>
    millrace.json<DeadLetter[]>("dead-letters", "list", "--all", ...args);
  const audit = () => millrace.json<AuditReport>("audit", "--blobs", "content");
  const text = async (...args: string[]) => {
    const { stdout, stderr, status } = await millrace.run(args);
    return { out: stdout.toString(), err: stderr, status };
  };
  const idle = () =>
    until(async () => {
      const { inFlight, journalBacklog } = await millrace.json<{ inFlight: number; journalBacklog: number }>(
        "status",
      );
      return inFlight === 0 && journalBacklog === 0;
    });

  test("the audit holds although everything to one target has failed", async () => {
    const { holds, accepted, terminal, deadLetters } = await audit();
    assert.deepEqual(
      [holds, accepted, terminal.failed, terminal.delivered, deadLetters],
      [true, total + 1, total, 1, total],
    );
  });

  test("a dead letter can be found and says what happened", async () => {
    const [letter] = await letters("--recipient", "box1@hook.test", "--subject", "m-1");
    assert.ok(letter);
    const { out } = await text("dead-letters", "show", String(letter.number));
    assert.match(out, /^reply +.*410/m);
    assert.match(out, /^worker +deliver$/m);
    assert.match(out, /delivery\.failed +.*box1@hook\.test/);
    assert.match(out, new RegExp(`millrace replay ${letter.number} `));
    const list = await text("dead-letters", "list", "--limit", "2");
    assert.match(list.out, /the newest 2 of 300/);
  });

  test("what cannot be meant is refused with what to write instead", async () => {
    for (const [args, status, words] of [
      [["dead-letters", "show", "99999"], 1, /there is no dead letter 99999/],
      [["dead-letters", "discard"], 2, /say which/],
      [["dead-letters", "list", "--since", "yesterday"], 1, /give a date/],
      [["replay", "--all"], 2, /--all needs --worker: one of deliver/],
      [["replay", "--all", "--worker", "nobody"], 1, /no worker "nobody" has ever been started here/],
      [["replay", "--all", "--worker", "store"], 2, /has been through store already/],
      [["replay", "--all", "--worker", "deliver", "--error", "x"], 2, /--error chooses dead letters/],
      [["replay", "--force"], 2, /--force is for --all/],
      [["replay", "rubbish"], 2, /neither the number of a dead letter nor a message id/],
      [["replay", "--rate", "0"], 1, /give a whole number from 1/],
      [["audit", "--acknowledged", "nowhere.log"], 2, /there is no such file/],
      [["audit", "--blobs", "some"], 1, /Allowed choices/],
    ] as [string[], number, RegExp][]) {
      const { err, status: ended } = await text(...args);
      assert.deepEqual([ended, words.test(err)], [status, true], `${args.join(" ")}: ${ended} ${err}`);
    }
  });

  test("a dry run counts and shows, and does nothing", async () => {
    const { out } = await text("replay", "--error", "410", "--recipient", "box0@hook.test", "--dry-run");
    assert.match(out, /would replay 100 dead letters with --error 410 --recipient box0@hook\.test/);
    assert.match(out, /and 95 more/);
    assert.equal((await letters()).length, total);
    const none = await text("replay", "--error", "ECONNREFUSED");
    assert.match(none.out, /nothing to replay/);
    assert.equal(none.status, 0);
  });

  test("discarding gives up exactly what was chosen, and the audit holds", async () => {
    const chosen = (await letters("--recipient", "box0@hook.test")).slice(0, 10);
    const numbers = chosen.map(({ number }) => String(number));
    const { out } = await text("dead-letters", "discard", ...numbers, "--reason", "test mail");
    assert.match(out, /discarded 10 of 10 dead letters/);
    await idle();
    assert.equal((await letters()).length, total - 10);
    const trace = await text("trace", chosen[0]?.message ?? "");
    assert.match(trace.out, /job\.discarded/);
    assert.equal((await audit()).holds, true);
  });

  test("a replay that is interrupted goes on with the same command: each is delivered once", async () => {
    webhook.refusing = false;
    const rest = total - 10;
    const first = millrace.start(["replay", "--error", "410", "--rate", "60/s"]);
    await until(() => webhook.taken.length > 30);
    assert.equal(await first.end("SIGINT"), 130);
    assert.match(first.output(), /stopped after \d+ of 290; the same command goes on from there/);
    assert.ok(webhook.taken.length < rest);
    const second = await text("replay", "--error", "410");
    assert.match(second.err, /going on with the replay that .* began at .*: \d+ of 290 are done/);
    assert.equal(second.status, 0);
    await idle();
    assert.equal(webhook.taken.length, rest);
    assert.equal(new Set(webhook.taken).size, rest);
    assert.deepEqual(await letters(), []);
    const { holds, terminal } = await audit();
    assert.deepEqual([holds, terminal.delivered, terminal.failed], [true, rest + 1, 10]);
  });

  test("a delivered message goes to its target again only by force, under the same delivery id", async () => {
    const [id] = webhook.taken;
    const message = (id as string).split(".")[0] as string;
    const before = webhook.taken.length;
    const plain = await text("replay", message, "--worker", "deliver");
    assert.match(plain.out, /1 had nothing to run again: delivered already/);
    await text("replay", message, "--worker", "deliver", "--force");
    await until(() => webhook.taken.length > before);
    assert.equal(webhook.taken.at(-1), id);
    await idle();
    assert.equal(webhook.taken.length, before + 1);
  });

  test("a worker that is new sees every stored message once", async () => {
    const worker = millrace.start(["worker", resolve(import.meta.dirname, "../fixtures/count-words.ts")]);
    await until(() => worker.output().includes('"ready"'));
    const { replayed } = await millrace.json<{ replayed: number }>(
      "replay",
      "--all",
      "--worker",
      "count-words",
    );
    assert.equal(replayed, total + 1);
    await idle();
    const counted = worker
      .output()
      .split("\n")
      .filter((line) => line.includes('"counted"'));
    const messages = new Set(counted.map((line) => (JSON.parse(line) as { message: string }).message));
    assert.deepEqual([counted.length, messages.size], [total + 1, total + 1]);
    await worker.stop();
    assert.equal((await audit()).holds, true);
  });

  test("without Redis the commands that change something say so, those that look show what is stored", async () => {
    await millrace.down();
    const replay = await text("replay");
    assert.deepEqual([replay.status, /no Redis answers/.test(replay.err)], [69, true]);
    const list = await text("dead-letters", "list");
    assert.deepEqual([list.status, list.out], [0, "no dead letters\n"]);
    await millrace.up();
  });
});
