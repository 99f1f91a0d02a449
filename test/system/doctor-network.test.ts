import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtempSync } from "node:fs";
import { rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { after, test } from "node:test";
import { promisify } from "node:util";
import { serverPath } from "../support/proxy-process.ts";

const folder = mkdtempSync(join(tmpdir(), "millrace-network-"));
after(() => rm(folder, { recursive: true, force: true }));

/**
 * A network of a test's own: a name server that knows a domain with an MX alone, and a host with two addresses; a mail
 * server on one of them; and a firewall before another port. What the doctor says of each goes to a file.
 */
const network = `
set -eu
cd "$FOLDER"
ip link set lo up
echo "nameserver 127.0.0.1" > resolv.conf
mount --bind resolv.conf /etc/resolv.conf
nft "table inet closed { chain input { type filter hook input priority 0; tcp dport 587 drop; }; }"
dnsmasq --keep-in-foreground --conf-file=/dev/null --no-resolv --no-hosts --user=root --listen-address=127.0.0.1 \\
  --bind-interfaces --local=/test/ --mx-host=example.test,mx.example.test,10 --host-record=mx.example.test,127.0.0.1,::1 &
servers=$!
trap 'kill $servers' EXIT
smtp-sink -u nobody 127.0.0.1:2525 10 &
servers="$servers $!"
until "$NODE" -e '
  require("node:dns").promises.resolve4("mx.example.test").then(([host]) => {
    const socket = require("node:net").connect({ host, port: 2525 });
    socket.on("data", () => process.exit(0)).on("error", () => process.exit(1));
  }, () => process.exit(1));
'; do :; done
doctor() { "$NODE" "$COMMAND" doctor "$@" --json || test $? = 1; }
doctor example.test > domain
doctor mx.example.test > host
doctor 127.0.0.1:587 --timeout 1 > dropped
doctor 127.0.0.9 --timeout 1 > closed
`;

interface Found {
  check: string;
  status: string;
  seen: string;
  cure?: string;
}

test("a domain that has an MX alone, a host that listens on one of its addresses, a firewall", async () => {
  const env = {
    ...serverPath,
    FOLDER: folder,
    NODE: process.execPath,
    COMMAND: resolve(import.meta.dirname, "../../services/cli/bin/millrace.mjs"),
  };
  // Without root, a user namespace gives the rights to have networks.
  const how = process.getuid?.() === 0 ? ["-n", "-m"] : ["-r", "-n", "-m"];
  const run = promisify(execFile);
  await run("unshare", [...how, "sh", "-c", network], { env });
  const found = async (name: string) => {
    const { stdout } = await run("cat", [join(folder, name)]);
    const { sections } = JSON.parse(stdout) as { sections: { findings: Found[] }[] };
    return new Map(sections.flatMap(({ findings }) => findings).map((each) => [each.check, each]));
  };

  const domain = (await found("domain")).get("dns");
  assert.equal(domain?.status, "failure");
  assert.match(
    domain?.seen ?? "",
    /example\.test has no address; mail for it goes to mx\.example\.test \(MX\)/,
  );
  assert.match(domain?.cure ?? "", /millrace doctor mx\.example\.test$/);

  const host = await found("host");
  assert.match(host.get("dns")?.seen ?? "", /^mx\.example\.test is .*127\.0\.0\.1/);
  assert.equal(host.get("ports")?.seen, "open: 2525; closed: 25, 465, 587");
  assert.equal(host.get("addresses")?.status, "warning");
  assert.match(host.get("addresses")?.seen ?? "", /port 2525: ::1: connection refused/);
  assert.equal(host.get("greeting")?.status, "ok");
  // It takes mail for everybody.
  assert.equal(host.get("open relay")?.status, "failure");

  const dropped = (await found("dropped")).get("port");
  assert.equal(dropped?.seen, "no answer from 127.0.0.1 port 587 within 1 s");
  assert.match(dropped?.cure ?? "", /firewall drops the packets/);

  const closed = (await found("closed")).get("ports");
  assert.equal(closed?.status, "failure");
  assert.match(closed?.seen ?? "", /^no usual port is open \(.*connection refused/);
});
