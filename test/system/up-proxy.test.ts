import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { once } from "node:events";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { promisify } from "node:util";
import { haproxyServers, tellHaproxy } from "../support/haproxy-socket.ts";
import type { Installation } from "../support/millrace.ts";
import {
  bothDoors,
  edges,
  isBatch,
  isRunning,
  type ProxyPorts,
  proxiedInstallation,
  proxyPid,
  session,
} from "../support/proxied-installation.ts";
import { type Door, type SessionLoad, startSessions } from "../support/session-load.ts";
import { noop } from "../support/shown-certificate.ts";
import { SmtpDialogue } from "../support/smtp-dialogue.ts";
import { until } from "../support/until.ts";

const run = promisify(execFile);

describe("millrace up --edges 3 --proxy haproxy", () => {
  let millrace: Installation;
  let ports: ProxyPorts;
  let socket: string;
  let health: number[];
  const acknowledged: string[] = [];

  before(async () => {
    // Generous: on a busy machine a health check takes its time as well.
    ({ millrace, ports } = await proxiedInstallation({ SMTP_DRAIN_SECONDS: "8" }));
    socket = join(millrace.folder, "var/proxy/haproxy.sock");
    health = [0, 1, 2].map((i) => Number(millrace.env.HEALTH_PORT) + i);
    await millrace.up("--edges", String(edges), "--proxy", "haproxy");
  });
  after(() => millrace.remove());

  const doors = (): Door[] => [
    { port: ports.smtps, tls: "implicit" },
    { port: ports.starttls, tls: "starttls" },
  ];

  /** Sessions of each edge on one of its listeners. */
  const counts = (listener: string) =>
    Promise.all(
      health.map(async (port) => {
        const figures = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
        return Number(new RegExp(`connections\\{listener="${listener}"\\} (\\d+)`).exec(figures)?.[1]);
      }),
    );
  const come = (listener: string, wanted: string) =>
    until(async () => (await counts(listener)).join() === wanted);

  /** Pid of an edge, from 0 on: who said last that it is ready on its port. */
  const edgePid = (edge: number): number => {
    const port = Number(millrace.env.SMTP_PORT) + edge;
    const ready = new RegExp(`"name":"edge","pid":(\\d+),"port":${port},`, "g");
    return Number([...millrace.output.matchAll(ready)].at(-1)?.[1]);
  };
  const allAreUp = () =>
    until(async () => {
      const servers = await haproxyServers(socket);
      return servers.length === 2 * edges && servers.every(({ status }) => status === "UP");
    });
  /** Waits until `up` has another one in an edge's place, and HAProxy sends it sessions. */
  const isReplaced = async (edge: number, pid: number) => {
    await until(() => edgePid(edge) !== pid);
    await allAreUp();
  };
  const goesOn = async (load: SessionLoad, messages: number) => {
    const before = load.acknowledged.length;
    await until(() => load.acknowledged.length >= before + messages);
  };

  test("swaks delivers through both ports, and trace has the client's address", () =>
    bothDoors(millrace, ports, ["127.0.0.77", "127.0.0.78"]));

  test("the certificate is self-made, and says so; one that knows it trusts it, on both ports", async () => {
    const file = join(millrace.folder, "var/proxy/self-made.pem");
    assert.ok(millrace.output.includes(`${file}, self-made: no client trusts it; give your own with --cert`));
    const trusted = await session(ports.smtps, { ca: readFileSync(file) });
    assert.ok(trusted.authorized);
    const client = await SmtpDialogue.greeted(ports.starttls);
    await client.send("STARTTLS");
    await client.expect("220 ");
    const secured = await client.secure();
    assert.equal(secured.getPeerCertificate().serialNumber, trusted.getPeerCertificate().serialNumber);
    for (const each of [trusted, client]) each.destroy();
  });

  test("sixty sessions held on each port are spread 20/20/20", async () => {
    await come("proxied-smtps", "0,0,0");
    await come("proxied-starttls", "0,0,0");
    const held = await Promise.all(Array.from({ length: 60 }, () => session(ports.smtps)));
    const greeted = await Promise.all(Array.from({ length: 60 }, () => SmtpDialogue.greeted(ports.starttls)));
    await come("proxied-smtps", "20,20,20");
    await come("proxied-starttls", "20,20,20");
    for (const each of [...held, ...greeted]) each.destroy();
    await come("proxied-smtps", "0,0,0");
  });

  test("an edge set to drain keeps its sessions and gets no new ones, until it is ready again", async () => {
    const held = await Promise.all(Array.from({ length: 3 }, () => session(ports.smtps)));
    await come("proxied-smtps", "1,1,1");
    assert.equal(await tellHaproxy(socket, "set server edges/edges2 state drain"), "");
    const later = await Promise.all(Array.from({ length: 6 }, () => session(ports.smtps)));
    await come("proxied-smtps", "4,1,4");
    for (const each of held) assert.match(await noop(each), /^250 /);
    await tellHaproxy(socket, "set server edges/edges2 state ready");
    await allAreUp();
    // Whoever has fewest gets the next one: in turns, it would be six, three and six.
    const last = await Promise.all(Array.from({ length: 6 }, () => session(ports.smtps)));
    await come("proxied-smtps", "5,5,5");
    for (const each of [...held, ...later, ...last]) each.destroy();
    await come("proxied-smtps", "0,0,0");
  });

  test("smtp-source's load goes through it", async () => {
    const words = ["-d", "-s", "60", "-m", "600", "-l", "1000", "-f", "a@x.example", "-t", "b@x.example"];
    await run("smtp-source", [...words, `127.0.0.1:${ports.starttls}`]);
    const { messages } = await millrace.json<{ messages: Record<string, number> }>("status");
    assert.ok(Object.values(messages).reduce((sum, each) => sum + each) >= 600);
  });

  test("an edge set to drain under load runs empty, and no client notices", async () => {
    const state = async (to: "drain" | "ready") => {
      for (const server of ["edges/edges3", "starttls_edges/starttls_edges3"])
        assert.equal(await tellHaproxy(socket, `set server ${server} state ${to}`), "");
    };
    const sessions = async () =>
      (await haproxyServers(socket)).filter(({ name }) => name.endsWith("3")).map((each) => each.sessions);
    const load = startSessions(doors(), 3);
    await goesOn(load, 20);
    await state("drain");
    await until(async () => (await sessions()).join() === "0,0");
    await goesOn(load, 20);
    assert.deepEqual(await sessions(), [0, 0]);
    await state("ready");
    await until(async () => (await sessions()).some((each) => each > 0));
    await load.stop();
    assert.deepEqual([load.errors, load.dismissed()], [[], 0]);
    acknowledged.push(...load.acknowledged);
  });

  test("a rolling restart under load: every client sees its 250, or a clean 421", async () => {
    const load = startSessions(doors(), 3);
    await goesOn(load, 20);
    for (let edge = 0; edge < edges; edge++) {
      const pid = edgePid(edge);
      process.kill(pid, "SIGTERM");
      await isReplaced(edge, pid);
      await goesOn(load, 20);
    }
    await load.stop();
    assert.deepEqual(load.errors, []);
    acknowledged.push(...load.acknowledged);
  });

  test("kill -9 of an edge under load: sessions break, the others serve on, and nothing is lost", async () => {
    const load = startSessions(doors(), 3);
    await goesOn(load, 20);
    const pid = edgePid(1);
    process.kill(pid, "SIGKILL");
    await goesOn(load, 20);
    await isReplaced(1, pid);
    await goesOn(load, 20);
    await load.stop();
    acknowledged.push(...load.acknowledged);
  });

  test("HAProxy takes a core from no edge: it is under the batch policy, its worker too", () => {
    const pid = proxyPid(millrace);
    const [worker] = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim().split(" ");
    assert.deepEqual([pid, Number(worker)].map(isBatch), [true, true]);
    assert.equal(isBatch(edgePid(1)), false);
  });

  test("kill -9 of HAProxy: it is started again, and serves", async () => {
    const pid = proxyPid(millrace);
    process.kill(pid, "SIGKILL");
    await until(() => proxyPid(millrace) !== pid);
    assert.match(millrace.output, /haproxy ended \(SIGKILL\), starting it again in 0\.25 s/);
    await bothDoors(millrace, ports, ["127.0.0.79", "127.0.0.80"]);
  });

  test("all that was acknowledged is there", async () => {
    assert.ok(acknowledged.length >= 120);
    const file = join(millrace.folder, "acknowledged");
    writeFileSync(file, acknowledged.map((id) => `250 2.0.0 Ok: queued as ${id}\n`).join(""));
    await until(async () => (await millrace.json<{ inFlight: number }>("status")).inFlight === 0);
    const { status, stdout, stderr } = await millrace.run(["audit", "--acknowledged", file]);
    assert.equal(status, 0, `${stdout}${stderr}`);
  });

  test("a second one beside it names the port that is taken", async () => {
    const other = await proxiedInstallation({
      UP_PROXY_SMTPS_PORT: String(ports.smtps),
      UP_PROXY: "haproxy",
    });
    try {
      const { status, stderr } = await other.millrace.run(["up"]);
      assert.equal(status, 69);
      assert.match(
        stderr,
        new RegExp(`UP_PROXY_SMTPS_PORT=${ports.smtps} is in use on 127\\.0\\.0\\.1: stop what`),
      );
      assert.throws(() => other.millrace.pidOf("redis"), "redis is left running");
    } finally {
      await other.millrace.remove();
    }
  });

  test("Ctrl-C: open sessions read 421 through the proxy, edges end before workers, and a second start works", async () => {
    const held = await session(ports.smtps);
    const lastWords = once(held, "data");
    const [haproxy, redis] = [proxyPid(millrace), millrace.pidOf("redis")];
    const before = millrace.output.length;
    assert.equal(await millrace.down("SIGINT"), 0);
    assert.match(String((await lastWords)[0]), /^421 4\.3\.2 /);
    for (const pid of [haproxy, redis]) assert.ok(!isRunning(pid));
    const lines = millrace.output
      .slice(before)
      .split("\n")
      .filter((line) => line.startsWith("{"));
    const told = lines.map((line) => JSON.parse(line) as { name: string; msg: string });
    const lastEdge = told.findLastIndex(({ name, msg }) => name === "edge" && msg === "stopped");
    // The proxy takes no sessions any more: there is nothing to wait for.
    assert.ok(!told.some(({ msg }) => msg === "draining"));
    const firstWorker = told.findIndex(({ name, msg }) => name === "store" && msg === "stopping");
    assert.ok(lastEdge !== -1 && lastEdge < firstWorker, `${lastEdge} ${firstWorker}`);

    const file = join(millrace.folder, "var/proxy/self-made.pem");
    const made = readFileSync(file, "utf8");
    await millrace.up("--edges", String(edges), "--proxy", "haproxy");
    assert.equal(readFileSync(file, "utf8"), made);
    await bothDoors(millrace, ports, ["127.0.0.81", "127.0.0.82"]);
  });

  test("kill -9 of `up` takes the proxy along, and the next start works", async () => {
    const pid = proxyPid(millrace);
    await millrace.down("SIGKILL");
    await until(() => !isRunning(pid));
    await millrace.up("--edges", String(edges), "--proxy", "haproxy");
    await bothDoors(millrace, ports, ["127.0.0.83", "127.0.0.84"]);
  });
});
