import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { diagnose } from "../support/doctor.ts";
import { freePorts } from "../support/free-port.ts";
import { Installation } from "../support/millrace.ts";
import { type ProxyPorts, proxiedInstallation, proxyPid } from "../support/proxied-installation.ts";
import { startRedis } from "../support/redis.ts";
import { until } from "../support/until.ts";

/** From here on it is a shell in which nothing is set: what runs has to be found out. */
function forgetSettings({ env }: Installation): void {
  for (const name of Object.keys(env)) if (name !== "PATH" && name !== "HOME") delete env[name];
}

describe("millrace doctor beside `millrace up --edges 2 --proxy haproxy`", () => {
  let millrace: Installation;
  let ports: ProxyPorts;
  let health: number;
  /** Of each edge, its listeners in turn: smtp, proxied-smtps, proxied-starttls. */
  let listeners: number[][];

  before(async () => {
    ({ millrace, ports } = await proxiedInstallation());
    await millrace.up("--edges", "2", "--proxy", "haproxy");
    const { SMTP_PORT, UP_PROXY_EDGE_PORT, UP_PROXY_EDGE_STARTTLS_PORT, HEALTH_PORT } = millrace.env;
    health = Number(HEALTH_PORT);
    const first = [SMTP_PORT, UP_PROXY_EDGE_PORT, UP_PROXY_EDGE_STARTTLS_PORT].map(Number);
    listeners = [0, 1].map((edge) => first.map((port) => port + edge));
    forgetSettings(millrace);
  });
  after(() => millrace?.remove());

  const at = (port: number | undefined) => `127.0.0.1:${port} `;
  const publicPorts = () => [ports.smtps, ports.starttls];
  const upPid = () => Number(readFileSync(join(millrace.folder, "var/up.pid"), "utf8"));

  /** What is found while `up` stands still: it starts nothing again. */
  const whileUpStands = async (broken: () => Promise<void>, examine: () => Promise<void>) => {
    const up = upPid();
    process.kill(up, "SIGSTOP");
    try {
      await broken();
      await examine();
    } finally {
      process.kill(up, "SIGCONT");
    }
  };
  /** Kills a process, and those of its group, as it were; its parent has not heard of it yet. */
  const killed = async (pid: number, group: boolean) => {
    process.kill(group ? -pid : pid, "SIGKILL");
    await until(() => readFileSync(`/proc/${pid}/cmdline`, "utf8") === "");
  };

  test("every listener, every health port, and both public ports are as they should be", async () => {
    const { failed, findings, of } = await diagnose(millrace, []);
    assert.deepEqual(failed, []);
    assert.match(of("processes").seen, /^running: .*\(millrace up, pid \d+\)$/);
    assert.match(of("processes").seen, /\b2 edge\b/);
    assert.match(of("processes").seen, /\bhaproxy\b/);
    for (const port of [...listeners.flat(), ...publicPorts()]) {
      assert.equal(of("port", at(port)).status, "ok");
      assert.match(of("greeting", at(port)).seen, /^220 mx\.example\.test/);
    }
    for (const edge of [0, 1])
      assert.equal(of("ready", `edge ${edge + 1}`).seen, `http://127.0.0.1:${health + edge}/readyz: ready`);
    assert.match(of("tls", at(ports.smtps)).seen, /^implicit: TLSv1\.3/);
    assert.match(of("tls", at(ports.starttls)).seen, /^STARTTLS: TLSv1\.3/);
    for (const port of publicPorts()) {
      assert.equal(of("client address", at(port)).seen, "127.0.0.199, which is ours, is what the edge sees");
      assert.match(of("certificate name", at(port)).seen, /^mx\.example\.test is one of/);
    }
    // On the public ports, and where the edges end what is passed on to them.
    const selfMade = findings.filter(({ check }) => check === "certificate chain");
    assert.equal(selfMade.length, 4);
    for (const { status, seen, cure } of selfMade) {
      assert.equal(status, "warning");
      assert.match(seen, /^Millrace, self-made: self-made by millrace up, so no client trusts it$/);
      assert.match(cure ?? "", /--cert <file>/);
    }
    assert.deepEqual(
      findings.filter(({ check, status }) => status === "skipped" && check !== "clock"),
      [],
    );
  });

  test("what is set here is held against what runs", async () => {
    const { of } = await diagnose(millrace, [], { SMTP_MAX_MESSAGE_BYTES: "1000000" });
    for (const port of [ports.smtps, listeners[1]?.[1]])
      assert.match(of("size", at(port)).seen, /^SIZE 52428800, but 1000000 by SMTP_MAX_MESSAGE_BYTES/);
  });

  test("a proxy that stands still", async () => {
    const pid = proxyPid(millrace);
    process.kill(-pid, "SIGSTOP");
    try {
      const { of } = await diagnose(millrace, ["--timeout", "2"]);
      for (const port of publicPorts()) {
        assert.equal(of("greeting", at(port)).status, "failure");
        assert.match(of("greeting", at(port)).seen, /waited for a .*nothing came within 2 s/);
        assert.match(of("greeting", at(port)).cure ?? "", /process stands still/);
      }
    } finally {
      process.kill(-pid, "SIGCONT");
    }
  });

  test("a proxy that is gone", async () => {
    const pid = proxyPid(millrace);
    await whileUpStands(
      () => killed(pid, true),
      async () => {
        const { failed, of } = await diagnose(millrace, []);
        assert.deepEqual(failed, ["processes", "port", "port"]);
        assert.match(of("processes").seen, /not running here: haproxy$/);
        for (const port of publicPorts()) {
          assert.match(of("port", at(port)).seen, /refuses connections/);
          assert.match(of("port", at(port)).cure ?? "", /^millrace up --proxy haproxy runs it/);
        }
      },
    );
    await until(() => proxyPid(millrace) !== pid);
  });

  test("an edge that is gone", async () => {
    const second = millrace.pids("edge").find((pid) => environment(pid).includes("EDGE_NUMBER=2")) as number;
    await whileUpStands(
      () => killed(second, false),
      async () => {
        const { failed, of } = await diagnose(millrace, []);
        assert.match(of("processes").seen, /not running here: 1 of 2 edges$/);
        assert.match(of("ready", "edge 2").seen, new RegExp(`:${health + 1} does not answer`));
        for (const port of listeners[1] as number[])
          assert.match(of("port", at(port)).seen, /refuses connections/);
        for (const port of listeners[0] as number[]) assert.equal(of("port", at(port)).status, "ok");
        assert.deepEqual(failed.slice(0, 1), ["processes"]);
      },
    );
  });
});

test("millrace doctor beside edges that were started one by one finds the ports of each, and their Redis", async () => {
  const redis = await startRedis();
  const first = await freePorts(4);
  const millrace = new Installation({
    config: { hostname: "mx.example.test" },
    env: { REDIS_URL: redis.url, LOG_LEVEL: "info" },
  });
  const started = [millrace.start(["worker", "parse"])];
  // No two of whose ports are as far from each other as their numbers.
  for (const [number, port] of [
    [2, first],
    [7, first + 2],
  ] as const) {
    Object.assign(millrace.env, {
      EDGE_NUMBER: String(number),
      SMTP_PORT: String(port - number + 1),
      HEALTH_PORT: String(port + 1 - number + 1),
    });
    started.push(millrace.start(["edge"]));
  }
  forgetSettings(millrace);
  const isReady = (port: number) =>
    fetch(`http://127.0.0.1:${port}/readyz`).then(
      ({ ok }) => ok,
      () => false,
    );
  try {
    await until(async () => (await isReady(first + 1)) && (await isReady(first + 3)));
    const { failed, of } = await diagnose(millrace, []);
    assert.deepEqual(failed, []);
    assert.ok(of("redis").seen.includes(redis.url), of("redis").seen);
    assert.equal(of("ready", "edge 2").seen, `http://127.0.0.1:${first + 1}/readyz: ready`);
    assert.equal(of("ready", "edge 7").seen, `http://127.0.0.1:${first + 3}/readyz: ready`);
    for (const port of [first, first + 2])
      assert.equal(of("greeting", `127.0.0.1:${port} (smtp`).status, "ok");
  } finally {
    for (const each of started) await each.stop();
    await millrace.remove();
    await redis.stop();
  }
});

function environment(pid: number): string[] {
  return readFileSync(`/proc/${pid}/environ`, "utf8").split("\0");
}
