import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { after, afterEach, before, describe, test } from "node:test";
import type { Envelope } from "@millrace/mail";
import { noCaddy, reloadCaddy } from "../support/caddy.ts";
import { closedPort } from "../support/free-port.ts";
import { HeldSessions, said } from "../support/held-sessions.ts";
import { listens } from "../support/listens.ts";
import { type Edge, ProxiedEdges } from "../support/proxied-edges.ts";
import { mail, sendAll } from "../support/sender.ts";
import { until } from "../support/until.ts";

describe("three edges behind Caddy with caddy-l4", { skip: noCaddy }, () => {
  const proxied = new ProxiedEdges();
  const sessions = new HeldSessions();

  before(async () => {
    await proxied.up(3, { SMTP_ENABLE_AUTH: "true" });
    const { status, stderr } = await proxied.millrace.run(["user", "add", "ann"], {}, "correct horse\n");
    assert.equal(status, 0, stderr);
  });
  afterEach(() => sessions.end());
  after(() => proxied.remove());

  const edgeOptions = () => [
    ...proxied.upstreams("--edge", "behindTls"),
    ...proxied.upstreams("--starttls-edge", "starttls"),
  ];

  /** Open sessions of edges, on one of their listeners. */
  const held = (edges = proxied.edges, listener = "behind-tls") =>
    Promise.all(edges.map((edge) => proxied.metric(edge, "connections", listener)));

  async function holdAtLast(wanted: number[], edges = proxied.edges): Promise<void> {
    await until(async () => (await held(edges)).join() === wanted.join(), 20_000).catch(async () =>
      assert.deepEqual(await held(edges), wanted),
    );
  }

  /** Sends under load, and does something while one of the edges takes part in it; wants it all to be kept. */
  async function underLoad(port: number, edge: Edge, meanwhile: () => Promise<void>): Promise<void> {
    const mails = Array.from({ length: 60 }, (_, i) => mail(`${meanwhile.name}-${i}`, "a@example.com"));
    const load = sendAll(port, mails, { connections: 6 });
    await until(async () => (await held([edge], "starttls"))[0] !== 0);
    await meanwhile();
    const acknowledged = [...(await load).values()];
    assert.equal(acknowledged.length, mails.length);
    await until(async () => {
      const kept = await proxied.millrace.json<{ id: string }[]>("messages", "list", "--all");
      return acknowledged.every((id) => kept.some((message) => message.id === id));
    });
  }

  test("AUTH through both ports: the edge knows the user, and the client's address", async () => {
    const { ports, stop } = await proxied.started("caddy", ...edgeOptions());
    const auth = (password: string) => ["--auth", "PLAIN", "--auth-user", "ann", "--auth-password", password];
    try {
      const ways: [string, number, string][] = [
        ["127.0.0.71", ports.smtps, "--tls-on-connect"],
        ["127.0.0.72", ports.starttls, "--tls"],
      ];
      for (const [from, port, how] of ways) {
        const { id, client } = await proxied.delivered(from, port, how, ...auth("correct horse"));
        assert.equal(client, from);
        const shown = await proxied.millrace.json<{ manifest: { envelope: Envelope } }>(
          ...["messages", "show", id],
        );
        assert.equal(shown.manifest.envelope.user, "ann");
        const refused = proxied.delivered(from, port, how, ...auth("wrong"));
        await assert.rejects(refused, { stdout: /535 5\.7\.8/ });
      }
    } finally {
      await stop();
    }
  });

  test("60 sessions are spread 20, 20 and 20", async () => {
    const { ports, stop } = await proxied.started("caddy", ...edgeOptions());
    try {
      await sessions.openMany(60, ports.smtps);
      await holdAtLast([20, 20, 20]);
    } finally {
      await stop();
    }
  });

  test("one edge is killed under load: new sessions go on, nothing acknowledged is lost, and it gets its share again", async () => {
    const { ports, stop } = await proxied.started("caddy", ...edgeOptions());
    const [first, victim, third] = proxied.edges as [Edge, Edge, Edge];
    const supervisor = parentOf(proxied.pidOf(victim));
    try {
      await sessions.openMany(6, ports.smtps);
      await holdAtLast([2, 2, 2]);
      await underLoad(ports.starttls, victim, async function killed() {
        // So that nobody starts it again before the test has seen what happens without it.
        process.kill(supervisor, "SIGSTOP");
        process.kill(proxied.pidOf(victim), "SIGKILL");
        // A process takes a moment to die, and what it has been given by then goes with it.
        await until(async () => !(await listens(victim.behindTls)));
        await sessions.openMany(8, ports.smtps);
        // Its two are told that they are over; all others, and eight more, are with the two edges that are left.
        await until(() => sessions.all.filter((socket) => socket.destroyed).length === 2);
        await holdAtLast([6, 6], [first, third]);
        process.kill(supervisor, "SIGCONT");
      });

      sessions.end();
      await until(async () => {
        await sessions.open(ports.smtps);
        const [count] = await held([victim]).catch(() => [0]);
        sessions.end();
        return count !== 0;
      });
      await holdAtLast([0, 0, 0]);
      // It has had fewer than the others; that is no reason to send it everybody now.
      await sessions.openMany(9, ports.smtps);
      await holdAtLast([3, 3, 3]);
    } finally {
      process.kill(supervisor, "SIGCONT");
      await stop();
    }
  });

  test("an edge is taken out by a reload: its sessions go on, new ones go to the others, and nobody sees it stop", async () => {
    const { ports, file, stop } = await proxied.started("caddy", ...edgeOptions());
    const [leaving, ...staying] = proxied.edges as [Edge, Edge, Edge];
    try {
      await sessions.openMany(3, ports.smtps);
      await holdAtLast([1, 1, 1]);
      const text = readFileSync(file, "utf8");
      const without = text.replace(`\t\t\t\t\tupstream 127.0.0.1:${leaving.behindTls}\n`, "");
      assert.notEqual(without, text);
      writeFileSync(file, without);
      await reloadCaddy(file);
      await sessions.wantAlive();
      await sessions.openMany(6, ports.smtps);
      await holdAtLast([1, 4, 4]);

      const told = sessions.all.map((socket) => said(socket));
      process.kill(proxied.pidOf(leaving), "SIGTERM");
      // The one session that it still had; the others hear nothing.
      assert.match(await Promise.race(told), /^421 4\.3\.2 /);
      await holdAtLast([4, 4], staying);
      const { client } = await proxied.delivered("127.0.0.74", ports.smtps, "--tls-on-connect");
      assert.equal(client, "127.0.0.74");
      sessions.end();
      assert.deepEqual((await Promise.all(told)).filter(Boolean).length, 1);
    } finally {
      await stop();
    }
    await until(() => listens(leaving.behindTls));
  });

  test("an edge just stops under load: senders come again, new sessions go on, and nothing acknowledged is lost", async () => {
    const { ports, stop } = await proxied.started("caddy", ...edgeOptions());
    const stopping = proxied.edges[2] as Edge;
    try {
      await sessions.openMany(3, ports.smtps);
      await holdAtLast([1, 1, 1]);
      const told = sessions.all.map((socket) => said(socket));
      await underLoad(ports.starttls, stopping, async function stopped() {
        process.kill(proxied.pidOf(stopping), "SIGTERM");
        assert.match(await Promise.race(told), /^421 4\.3\.2 /);
        await until(async () => !(await listens(stopping.behindTls)));
        await sessions.openMany(3, ports.smtps);
      });
      sessions.end();
      await Promise.all(told);
    } finally {
      await stop();
    }
    await until(() => listens(stopping.behindTls));
  });

  test("while it migrates, a quarter is a quarter, and with no edge to move to everybody stays", async () => {
    const migration = [
      ...proxied.upstreams("--edge", "behindTls"),
      "--migrate-weight",
      "25",
      "--native-edge",
    ];
    const target = proxied.edges[0] as Edge;
    const { ports, stop } = await proxied.started("caddy", ...migration, `127.0.0.1:${target.native}`);
    try {
      await sessions.openMany(20, ports.smtps);
      await holdAtLast([5, 5, 5]);
      assert.deepEqual(await held([target], "native"), [5]);
    } finally {
      await stop();
    }
    const nobody = await proxied.started("caddy", ...migration, `127.0.0.1:${closedPort}`);
    try {
      await sessions.openMany(6, nobody.ports.smtps);
    } finally {
      await nobody.stop();
    }
  });
});

function parentOf(pid: number): number {
  return Number(/^PPid:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]);
}
