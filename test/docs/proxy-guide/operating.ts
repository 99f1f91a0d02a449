import assert from "node:assert/strict";
import { until } from "../../support/until.ts";
import type { Step } from "./step.ts";

/** What is done with HAProxy before the edges, from day to day. */
export const operating: Step[] = [
  {
    block: "balance",
    // After the sections about the others, everything is about HAProxy again.
    first: (guide) =>
      `systemctl disable --now nginx; systemctl stop caddy || true\n${guide.scriptOf("haproxy")}`,
    test: "HAProxy's socket: sessions of each edge, and one taken out and put back",
    check: async (said, guide) => {
      for (const edge of ["edges1", "edges2", "edges3"])
        assert.match(said, new RegExp(`^edges,${edge},\\d+,`, "m"));
      await guide.allEdgesUp();
    },
  },
  {
    block: "rolling-restart",
    test: "one edge after the other is restarted, and serves again",
    check: async (_, guide) => {
      await guide.allEdgesUp();
      await guide.deliversThroughBoth("127.0.0.78");
    },
  },
  {
    block: "monitoring",
    test: "metrics of edges and HAProxy, and their lines in the journal",
    check: async (said, guide) => {
      assert.match(said, /^millrace_edge_ready 1$/m);
      assert.match(said, /^haproxy_server_status\{proxy="edges",server="edges1",state="UP"\} 1$/m);
      assert.match(said, /haproxy\[\d+\]: .* smtps~ edges\/edges\d/);
      assert.match(said, /"msg":"accepted"/);
      // HAProxy's page: for this machine alone, and without a way to change something.
      const listeners = await guide.ran("ss -Hltn sport = :8404");
      assert.match(listeners, /127\.0\.0\.1:8404/);
      assert.doesNotMatch(listeners, /\*:8404|\[::\]:8404|0\.0\.0\.0:8404/);
      const maintenance = "-d 's=edges1&action=maint&b=edges' http://127.0.0.1:8404/stats";
      await guide.run(`curl -fsS ${maintenance}`);
      await guide.allEdgesUp();
    },
  },
  {
    block: "stats-from-afar",
    test: "HAProxy's page is there on this machine",
    instead: {
      why: "it is run on another machine, and wants sshd here",
      script: () => "curl -fsS http://127.0.0.1:8404/stats | grep -c edges2",
    },
  },
  {
    block: "doctor",
    test: "the doctor finds nothing wrong with all of this",
    settings: true,
    check: (said) => {
      assert.match(said, /ok +certificate chain/);
      assert.match(said, /ok +open relay/);
      assert.equal(said.match(/^\d+ ok, 0 warning, 0 failure, /gm)?.length, 3, said);
      assert.doesNotMatch(said, /^ +failure /m);
    },
  },
  {
    block: "tuning",
    test: "the kernel and the units have what was printed",
    check: (said) => {
      assert.match(
        said,
        /somaxconn = 4096[\s\S]*max_syn_backlog = 8192[\s\S]*local_port_range = 16384\s60999/,
      );
      assert.match(said, /LimitNOFILE=65536/);
      assert.match(said, /policy: SCHED_BATCH/);
    },
  },
  {
    block: "openssl",
    test: "openssl: the chain is verified on both ports",
    check: (said) => {
      assert.equal(said.match(/^221 /gm)?.length, 2, said);
      assert.match(said, /CN = mail\.example\.com/);
    },
  },
  {
    block: "swaks",
    test: "swaks: both ports, with verified certificates, and AUTH",
    check: (said) => {
      assert.equal(said.match(/queued as/g)?.length, 3);
      assert.match(said, /235 /);
    },
  },
  {
    block: "load",
    test: "smtp-source's load through HAProxy, and an audit that finds every message",
    settings: true,
    check: (said) => assert.ok(Number(/^accepted +([\d,]+)/m.exec(said)?.[1]?.replace(",", "")) >= 600, said),
  },
  {
    block: "migrate",
    test: "migration: native TLS beside the proxy's, up to all of it, without another certificate",
    check: async (_, guide) => {
      await guide.deliversThroughBoth("127.0.0.82");
      const native = async () => {
        const ports = [9525, 9526, 9527].map((port) => `curl -fsS http://127.0.0.1:${port}/metrics`);
        const text = await guide.ran(ports.join("; "));
        const counts = [...text.matchAll(/^millrace_edge_sessions_total\{listener="native"\} (\d+)$/gm)];
        return counts.reduce((sum, [, count]) => sum + Number(count), 0);
      };
      await guide.ran(guide.scriptOf("migrate").replace("--migrate-weight 10", "--migrate-weight 100"));
      const before = await native();
      await until(async () => {
        await guide.deliversThroughBoth("127.0.0.83");
        return (await native()) > before;
      });
    },
  },
];
