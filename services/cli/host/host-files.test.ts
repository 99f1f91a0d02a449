import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { check } from "../checker.ts";
import { hooks, shellChecker } from "./certbot-hook.ts";
import { firewalls } from "./firewall.ts";
import { systemdFiles } from "./systemd-units.ts";

const folder = mkdtempSync(join(tmpdir(), "millrace-host-"));
after(() => rmSync(folder, { recursive: true }));

/** Golden files: `node --test --test-update-snapshots <this file>` writes them anew. */
const golden = (name: string) => `${import.meta.dirname}/golden/${name}`;
const asText = { serializers: [(text: string) => text] };
const plan = {
  hostname: "mail.example.com",
  target: "/etc/millrace/certificates",
  socket: "/run/haproxy/admin.sock",
  group: "millrace",
};
const units = { folder: "/opt/millrace", user: "millrace", drainSeconds: 15 };
const rules = { open: [465, 587], inner: [2525, 9525], from: ["10.0.0.0/8", "2001:db8::1"] };

test("systemd's files", (t) => {
  for (const [path, text] of Object.entries(systemdFiles(units)))
    t.assert.fileSnapshot(text, golden(path.replaceAll("/", "-")), asText);
});

test("certbot's hooks", (t) => {
  for (const [name, hook] of Object.entries(hooks)) {
    t.assert.fileSnapshot(hook(plan), golden(`certbot-${name}.sh`), asText);
    check({ hook: hook(plan) }, shellChecker("hook"));
  }
});

test("firewalls' rules", (t) => {
  for (const [name, firewall] of Object.entries(firewalls))
    t.assert.fileSnapshot(firewall.rules(rules), golden(`firewall-${name}`), asText);
});

test("systemd takes the units, and finds little left to take away from them", () => {
  const program = join(folder, "node_modules/.bin/millrace");
  mkdirSync(join(folder, "node_modules/.bin"), { recursive: true });
  writeFileSync(program, "#!/bin/sh\n", { mode: 0o755 });
  const files = systemdFiles({ ...units, folder });
  for (const [kind, instance] of [
    ["edge", "1"],
    ["worker", "parse"],
  ]) {
    const unit = join(folder, `millrace-${kind}@${instance}.service`);
    writeFileSync(unit, files[`systemd/system/millrace-${kind}@.service`] ?? "");
    const { status, stdout, stderr } = spawnSync("systemd-analyze", ["verify", unit], { encoding: "utf8" });
    assert.deepEqual([status, stdout, stderr], [0, "", ""]);
    const words = ["security", "--offline=true", "--threshold=20", unit];
    const security = spawnSync("systemd-analyze", words, { encoding: "utf8" });
    assert.equal(security.status, 0, security.stdout.slice(-300));
  }
});

test("no setting of the environment file has a comment behind its value", () => {
  const lines = systemdFiles(units)["millrace/millrace.env"]?.split("\n") ?? [];
  for (const line of lines.filter((each) => each !== "" && !each.startsWith("#")))
    assert.match(line, /^[A-Z_]+=[^\s#]+$/);
});

/** A network of a test's own, with a second machine at 10.9.0.2 and 10.9.0.3; the rules stand at 10.9.0.1. */
const machines = `
set -eu
ip link set lo up
unshare -n sleep 60 & other=$!
trap 'kill $other' EXIT
until [ "$(readlink /proc/$other/ns/net)" != "$(readlink /proc/self/ns/net)" ]; do :; done
ip link add here0 type veth peer name there0 netns $other
ip addr add 10.9.0.1/24 dev here0
ip link set here0 up
there() { nsenter -t $other -n "$@"; }
there ip addr add 10.9.0.2/24 dev there0
there ip addr add 10.9.0.3/24 dev there0
there ip link set there0 up
"$LOAD_WITH" $LOAD_WORDS "$RULES"
"$LOAD_WITH" $LOAD_WORDS "$RULES"
"$NODE" -e '
  const net = require("node:net");
  let left = 2;
  for (const port of [2525, 587]) net.createServer((s) => s.end()).listen(port, "0.0.0.0", () => --left || console.log("up"));
' > "$RULES.up" & server=$!
trap 'kill $other $server' EXIT
until [ -s "$RULES.up" ]; do :; done
reach() { "$@" "$NODE" -e '
  const [host, port, localAddress] = process.argv.slice(1);
  const socket = require("node:net").connect({ host, port, ...(localAddress && { localAddress }) });
  const done = (word) => { console.log(port, "from", localAddress ?? "itself", word); process.exit(); };
  socket.on("connect", () => done("reached")).on("error", () => done("refused"));
  setTimeout(() => done("dropped"), 3000);
' "$host" "$port" $local; }
host=10.9.0.1
port=2525 local=10.9.0.2 reach there
port=2525 local=10.9.0.3 reach there
port=587 local=10.9.0.3 reach there
port=2525 local= reach
`;

for (const [name, loader, ...words] of [
  ["nftables", "nft", "-f"],
  ["iptables", "sh"],
] as [string, string, ...string[]][]) {
  test(`${name}: edges are reached by their proxy and from their own machine, mail ports by everybody`, () => {
    const file = join(folder, name);
    const text = firewalls[name]?.rules({ ...rules, from: ["10.9.0.2"] }) ?? "";
    writeFileSync(file, text);
    chmodSync(file, 0o755);
    const env = {
      ...process.env,
      PATH: `${process.env.PATH}:/usr/sbin:/sbin`,
      LOAD_WITH: loader,
      LOAD_WORDS: words.join(" "),
      RULES: file,
      NODE: process.execPath,
    };
    // Without root, a user namespace gives the rights to have networks.
    const how = process.getuid?.() === 0 ? ["-n"] : ["-r", "-n"];
    const said = execFileSync("unshare", [...how, "sh", "-c", machines], { env, encoding: "utf8" });
    assert.deepEqual(said.trim().split("\n"), [
      "2525 from 10.9.0.2 reached",
      "2525 from 10.9.0.3 dropped",
      "587 from 10.9.0.3 reached",
      "2525 from itself reached",
    ]);
  });
}
