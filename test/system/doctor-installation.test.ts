import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { patientRedis } from "@millrace/service";
import { faketimeLibrary } from "../crash/site.ts";
import { diagnose } from "../support/doctor.ts";
import { closedPort, freePort } from "../support/free-port.ts";
import { Installation } from "../support/millrace.ts";
import { startRedis } from "../support/redis.ts";
import { until } from "../support/until.ts";

describe("millrace doctor without a host", () => {
  let millrace: Installation;
  const listeners = { plain: 0, behind: 0, elsewhere: 0 };

  before(async () => {
    for (const each of ["plain", "behind", "elsewhere"] as const) listeners[each] = await freePort();
    const health = await freePort();
    millrace = new Installation({
      config: {
        hostname: "mx.example.test",
        routes: [{ recipients: ["*@example.com", "*@mx.example.test"], to: { maildir: "./mail" } }],
        listeners: [
          { name: "plain", port: listeners.plain },
          { name: "behind", port: listeners.behind, tls: "proxy", proxyProtocol: { from: ["127.0.0.1"] } },
          {
            name: "elsewhere",
            port: listeners.elsewhere,
            tls: "proxy",
            proxyProtocol: { from: "10.0.0.0/8" },
          },
        ],
      },
      env: { HEALTH_PORT: String(health), SMTP_ENABLE_AUTH: "true" },
    });
    await millrace.up();
  });
  after(() => millrace?.remove());

  test("nothing is wrong with an installation as `up` starts it", async () => {
    const { failed, findings, of } = await diagnose(millrace, []);
    assert.deepEqual(failed, []);
    assert.match(of("processes").seen, /^running: .*edge.*\(millrace up, pid \d+\)$/);
    for (const service of ["edge", "parse", "store", "deliver"])
      assert.match(of("processes").seen, new RegExp(service));
    assert.match(
      of("descriptors").seen,
      new RegExp(`^edge \\(pid ${millrace.pidOf("edge")}\\) may open \\d+ files and has \\d+`),
    );
    assert.ok(of("disk").figures?.freeBytes);
    for (const check of ["redis", "redis durability", "redis disk", "redis room", "clock"])
      assert.notEqual(of(check, "redis").status, "skipped");
    assert.match(of("ready").seen, /\/readyz: ready$/);
    assert.match(of("clock", "edge 1").seen, /same time/);
    assert.match(of("client address", "plain").seen, /^127\.0\.0\.199, which is ours/);
    assert.match(of("client address", "behind").seen, /^192\.0\.2\.199, as the PROXY header says/);
    assert.match(of("auth", "behind").seen, /PLAIN LOGIN/);
    assert.match(of("size", "behind").seen, /^SIZE 52428800, as by SMTP_MAX_MESSAGE_BYTES/);
    assert.match(
      of("open relay", "plain").seen,
      /5 ways to foreign recipients refused \(550 5\.1\.1 .*mailboxes of its own/,
    );
    assert.equal(of("greeting", "elsewhere").status, "skipped");
    assert.match(of("greeting", "elsewhere").seen, /takes its proxies alone \(10\.0\.0\.0\/8\)/);
    assert.ok(findings.length > 20);
  });

  test("it sends no mail", async () => {
    assert.deepEqual(await millrace.json("messages", "list", "--all"), []);
  });

  test("a configuration the edge does not run with", async () => {
    const { of } = await diagnose(millrace, [], {
      SMTP_MAX_MESSAGE_BYTES: "1000000",
      SMTP_ENABLE_AUTH: "false",
    });
    assert.equal(of("size", "plain").status, "warning");
    assert.match(of("size", "plain").seen, /^SIZE 52428800, but 1000000 by SMTP_MAX_MESSAGE_BYTES/);
    assert.equal(of("auth", "behind").status, "warning");
  });

  test("too few descriptors, and too little room", async () => {
    const { failed, of } = await diagnose(millrace, [], {
      SMTP_MAX_CLIENTS: "100000",
      STORE_MIN_FREE_MB: "1000000000",
    });
    assert.match(of("descriptors").cure ?? "", /LimitNOFILE=/);
    assert.match(of("disk").seen, /below STORE_MIN_FREE_MB=1000000000/);
    assert.ok(failed.includes("disk"));
    const limit = of("descriptors").seen.match(/may open (\d+)/)?.[1];
    assert.equal(of("descriptors").status, Number(limit) < 100_100 ? "failure" : "ok");
  });

  test("a Redis that could lose mail, and one that does not answer", async () => {
    const redis = await startRedis(["--appendfsync", "everysec", "--maxmemory-policy", "allkeys-lru"]);
    try {
      const { failed, of } = await diagnose(millrace, [], { REDIS_URL: redis.url });
      assert.deepEqual(
        failed.filter((check) => check.startsWith("redis")),
        ["redis durability", "redis durability"],
      );
      assert.match(of("redis durability").seen, /appendfsync=everysec/);
      assert.match(of("redis durability").cure ?? "", /^Run CONFIG SET appendfsync always/);
      await redis.kill();
      const away = await diagnose(millrace, [], { REDIS_URL: redis.url });
      assert.match(away.of("redis").seen, /does not answer/);
      await redis.start();
      redis.freeze();
      const frozen = await diagnose(millrace, ["--timeout", "2"], { REDIS_URL: redis.url });
      assert.match(frozen.of("redis").seen, /does not answer/);
    } finally {
      redis.thaw();
      await redis.stop();
    }
  });

  test("a Redis whose clock is another, and whose file cannot be written anew", async () => {
    const folder = mkdtempSync(join(tmpdir(), "millrace-clock-"));
    const [socket, data] = [join(folder, "redis.sock"), join(folder, "data")];
    mkdirSync(data);
    const words = ["--port", "0", "--unixsocket", socket, "--dir", data, "--save", ""];
    const durable = ["--appendonly", "yes", "--appendfsync", "always", "--maxmemory-policy", "noeviction"];
    const child = spawn("redis-server", [...words, ...durable], {
      stdio: "ignore",
      // The C library's malloc first: Redis's own asks for the time before libfaketime can tell it.
      env: { ...process.env, LD_PRELOAD: `${faketimeLibrary} libc.so.6`, FAKETIME: "+3m" },
    });
    const url = `unix://${socket}`;
    const redis = patientRedis(url);
    try {
      await redis.ping();
      rmSync(data, { recursive: true });
      await redis.bgrewriteaof().catch(() => {});
      await until(async () => /aof_last_bgrewrite_status:err/.test(await redis.info("persistence")));
      const { of } = await diagnose(millrace, [], { REDIS_URL: url });
      assert.equal(of("clock", "redis").status, "failure");
      assert.match(of("clock", "redis").seen, /^Redis is 1[78]\d\.\d s ahead$/);
      assert.equal(of("redis disk").seen, "aof_last_bgrewrite_status is err");
      assert.equal(of("redis disk").status, "failure");
    } finally {
      redis.disconnect();
      child.kill("SIGKILL");
      await once(child, "exit");
      await rm(folder, { recursive: true, force: true });
    }
  });

  test("an edge that takes no mail for now, because its Redis stands still", async () => {
    const pid = millrace.pidOf("redis");
    process.kill(pid, "SIGSTOP");
    try {
      await until(async () => {
        const { failed, of } = await diagnose(millrace, ["--timeout", "2"]);
        if (!failed.includes("ready")) return false;
        assert.match(of("ready").seen, /readyz: /);
        assert.match(of("intake", "plain").seen, /^no mail is taken now: 451 4\.3\.0/);
        assert.ok(failed.includes("redis"));
        return true;
      });
    } finally {
      process.kill(pid, "SIGCONT");
    }
  });

  test("a configuration that is wrong, and one of which nothing runs", async () => {
    const { failed, of } = await diagnose(millrace, [], { SMTP_MAX_HOPS: "many" });
    assert.deepEqual(failed, ["configuration"]);
    assert.match(of("configuration").seen, /SMTP_MAX_HOPS="many" is not allowed/);
    const still = new Installation({ env: { SMTP_PORT: String(closedPort) } });
    try {
      const silent = await diagnose(still, []);
      assert.deepEqual(silent.failed, ["processes", "redis", "port"]);
      assert.match(silent.of("port").seen, /nothing listens on 127\.0\.0\.1 port 1$/);
      assert.match(silent.of("port").cure ?? "", /millrace up/);
    } finally {
      await still.remove();
    }
  });
});
