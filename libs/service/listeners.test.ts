import assert from "node:assert/strict";
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, test } from "node:test";
import { ConfigError, edgePorts, loadConfig, printableConfig } from "./config.ts";
import { portProblems } from "./listeners.ts";

/** A folder with these listeners in its configuration file. */
function folderWith(listeners?: unknown): string {
  const root = mkdtempSync(join(tmpdir(), "millrace-listeners-"));
  if (listeners) writeFileSync(join(root, "millrace.config.json"), JSON.stringify({ listeners }));
  return root;
}

async function problemsOf(listeners: unknown, env: Record<string, string> = {}): Promise<string> {
  try {
    await loadConfig(env, folderWith(listeners));
  } catch (error) {
    assert.ok(error instanceof ConfigError);
    return error.problems.join("\n");
  }
  return "";
}

test("the environment describes one listener, as it always has", async () => {
  const root = folderWith();
  const [listener, ...more] = (await loadConfig({ SMTP_PORT: "2526" }, root)).listeners;
  assert.deepEqual(more, []);
  assert.deepEqual(
    [listener?.host, listener?.port, listener?.tls, listener?.proxies, listener?.certificate],
    ["127.0.0.1", 2526, "off", undefined, undefined],
  );
  for (const file of ["c.pem", "k.pem"]) writeFileSync(join(root, file), "");
  const files = { SMTP_TLS_CERT: "c.pem", SMTP_TLS_KEY: "k.pem" };
  const modes: [Record<string, string>, string, boolean][] = [
    [{ SMTP_ENABLE_TLS: "true", ...files }, "starttls", true],
    [{ SMTP_TLS_MODE: "implicit", ...files }, "implicit", true],
    [{ SMTP_ENABLE_TLS: "true", SMTP_TLS_MODE: "implicit", ...files }, "implicit", true],
    // As the environment of a server behind a proxy that ends TLS is usually written.
    [{ SMTP_ENABLE_TLS: "false", SMTP_TLS_MODE: "proxy" }, "proxy", false],
  ];
  for (const [env, mode, withCertificate] of modes) {
    const { listeners } = await loadConfig(env, root);
    assert.equal(listeners[0]?.tls, mode);
    assert.equal(listeners[0]?.certificate?.cert, withCertificate ? join(root, "c.pem") : undefined);
  }
  const { listeners } = await loadConfig({ SMTP_PROXY_PROTOCOL_FROM: "10.0.0.0/8, ::1" }, root);
  assert.deepEqual(listeners[0]?.proxies, ["10.0.0.0/8", "::1"]);
});

test("what the environment asks for and cannot have is refused", async () => {
  const contradiction = await problemsOf(undefined, { SMTP_ENABLE_TLS: "true", SMTP_TLS_MODE: "proxy" });
  assert.match(contradiction, /SMTP_TLS_MODE=proxy contradicts SMTP_ENABLE_TLS=true/);
  assert.match(
    await problemsOf(undefined, { SMTP_TLS_MODE: "implicit" }),
    /SMTP_TLS_CERT is not set, but SMTP_TLS_MODE is implicit/,
  );
  const proxies = await problemsOf(undefined, { SMTP_PROXY_PROTOCOL_FROM: "127.0.0.1,10.0.0.0/33" });
  assert.match(
    proxies,
    /SMTP_PROXY_PROTOCOL_FROM=10\.0\.0\.0\/33 is not allowed: give addresses and networks/,
  );
});

test("listeners of the file: names, absolute paths, networks and ports, as they are printed", async () => {
  const root = folderWith([
    {
      name: "smtps",
      host: "::",
      port: 465,
      tls: "implicit",
      cert: "c.pem",
      key: "/k.pem",
      proxyProtocol: { from: "10.0.0.0/8" },
    },
    {
      port: 2525,
      tls: "starttls",
      cert: "c.pem",
      key: "k.pem",
      names: [{ serverNames: "MX2.example", cert: "2.pem", key: "2k.pem" }],
    },
  ]);
  const config = await loadConfig({ EDGE_NUMBER: "3", HEALTH_PORT: "9000" }, root);
  assert.deepEqual(printableConfig(config).listeners, [
    {
      name: "smtps",
      host: "::",
      port: 467,
      tls: "implicit",
      cert: `${root}/c.pem`,
      key: "/k.pem",
      proxyProtocol: { from: ["10.0.0.0/8"] },
    },
    {
      ...{ name: "127.0.0.1:2525", host: "127.0.0.1", port: 2527, tls: "starttls" },
      ...{ cert: `${root}/c.pem`, key: `${root}/k.pem` },
      names: [{ serverNames: ["mx2.example"], cert: `${root}/2.pem`, key: `${root}/2k.pem` }],
    },
  ]);
  assert.deepEqual(config.health, { host: "127.0.0.1", port: 9002 });
});

describe("a listener that cannot be is named, with the cure:", () => {
  const cases: [string, unknown, RegExp][] = [
    [
      "TLS without a certificate",
      [{ port: 1, tls: "implicit" }],
      /listeners\[0\] = .*tls "implicit" needs cert and key/,
    ],
    [
      "a certificate without TLS",
      [{ port: 1, tls: "proxy", cert: "c", key: "k" }],
      /listeners\[0\] = .*leave out cert, key and names/,
    ],
    [
      "a network that is none",
      [{ port: 1, proxyProtocol: { from: ["10.0.0.0/33"] } }],
      /proxyProtocol\.from\[0\] = "10\.0\.0\.0\/33": give an address or a network/,
    ],
    [
      "a name for a network",
      [{ port: 1, proxyProtocol: { from: "proxy" } }],
      /"proxy": give an address or a network/,
    ],
    ["no port", [{}], /listeners\[0\]\.port/],
    ["a word that means nothing", [{ port: 1, proxy: true }], /listeners\[0\].*proxy/],
    [
      "two with one name",
      [
        { port: 1, name: "a" },
        { port: 2, name: "a" },
      ],
      /two have the name a/,
    ],
    [
      "two on one port",
      [
        { port: 7, name: "a" },
        { port: 7, host: "0.0.0.0", name: "b" },
      ],
      /listeners\[1\]\.port=7: listeners\[0\]\.port is the same; choose another/,
    ],
    ["none at all", [], /listeners/],
  ];
  for (const [what, listeners, problem] of cases) {
    test(what, async () => assert.match(await problemsOf(listeners), problem));
  }

  test("one beside what the environment says", async () => {
    const problems = await problemsOf([{ port: 1 }], { SMTP_PORT: "2525", SMTP_ENABLE_TLS: "true" });
    assert.match(problems, /SMTP_PORT=2525 has no effect beside listeners/);
    assert.match(problems, /SMTP_ENABLE_TLS=true has no effect/);
  });
});

describe("several edges on one machine", () => {
  const ports = [
    { host: "127.0.0.1", port: 2525, called: "listeners[0].port" },
    { host: "0.0.0.0", port: 2528, called: "listeners[1].port" },
    { host: "127.0.0.1", port: 0, called: "HEALTH_PORT" },
  ];
  test("each takes the ports after the last one's, as long as they are free", async () => {
    assert.deepEqual(portProblems(ports, 3), []);
    assert.deepEqual(portProblems(ports, 4), [
      "listeners[0].port=2525: edge 1 of 4 has 2528 as its listeners[1].port; keep 4 ports free from each one on",
    ]);
    assert.deepEqual(portProblems([{ host: "::1", port: 65_535, called: "SMTP_PORT" }], 2), [
      "SMTP_PORT=65535 leaves no port for edge 2: choose a lower one",
    ]);
  });

  test("the port of its health server is one of them", async () => {
    const config = await loadConfig({ SMTP_PORT: "2525", HEALTH_PORT: "2526" }, folderWith());
    assert.deepEqual(portProblems(edgePorts(config), 1), []);
    assert.match(portProblems(edgePorts(config), 2).join(), /edge 1 of 2 has 2526 as its HEALTH_PORT/);
  });
});
