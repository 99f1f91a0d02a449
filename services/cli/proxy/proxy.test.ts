import assert from "node:assert/strict";
import { test } from "node:test";
import { Command } from "commander";
import { addOptions, type ProxyOptions, planOf } from "./options.ts";
import { proxies } from "./proxy.ts";

/** The file that a proxy's options make. */
function made(name: string, ...words: string[]): string {
  const proxy = proxies[name as keyof typeof proxies];
  const command = addOptions(new Command().exitOverride(), proxy.abilities, name);
  command.configureOutput({ writeErr: () => undefined });
  command.parse(["--hostname", "mail.example.com", ...words], { from: "user" });
  return proxy.file(planOf(command.opts<ProxyOptions>()));
}

const three = ["2525/9525", "2526/9526", "2527/9527"].flatMap((each) => ["--edge", `127.0.0.1:${each}`]);
const remote = ["--edge", "10.0.0.4:2525", "--edge", "[2001:db8::5]:2525"];
const remoteStarttls = [
  "--starttls-edge",
  "10.0.0.4:2587",
  "--starttls-port",
  "587",
  "--starttls-port",
  "25",
];
const migration = ["--native-edge", "10.0.0.4:4650", "--migrate-weight", "25"];

/** Golden files: `node --test --test-update-snapshots <this file>` writes them anew. */
const cases: Record<string, [string, ...string[]]> = {
  "haproxy-plain.cfg": ["haproxy"],
  "haproxy-three-edges.cfg": ["haproxy", ...three],
  "haproxy-migration.cfg": ["haproxy", ...remote, ...remoteStarttls, ...migration],
  "haproxy-by-name.cfg": [
    "haproxy",
    ...["--edge-dns", "edge:2465/9000", "--starttls-edge-dns", "edge:2587/9000", "--edge-count", "20"],
    ...["--name-server", "10.0.0.2:53"],
  ],
  "nginx-plain.conf": ["nginx"],
  "nginx-migration.conf": ["nginx", ...remote, ...remoteStarttls, ...migration],
  "nginx-mail.conf": ["nginx-mail", ...three, "--auth"],
  "nginx-mail-migration.conf": ["nginx-mail", ...remote, ...migration, "--listen", "192.0.2.1"],
  "caddy-plain.Caddyfile": ["caddy"],
  "caddy-three-edges.Caddyfile": [
    "caddy",
    ...three,
    ...["--acme", "https://acme.example.com/directory", "--acme-root", "/etc/tls/acme.pem"],
    ...[
      "--unprivileged",
      "/srv/caddy",
      "--http-port",
      "8080",
      "--https-port",
      "8443",
      "--listen",
      "192.0.2.1",
    ],
  ],
  "caddy-migration.Caddyfile": ["caddy", ...remote, ...migration],
  "caddy-own-certificate.Caddyfile": [
    "caddy",
    ...remote,
    ...remoteStarttls,
    "--cert",
    "/etc/tls/fullchain.pem",
  ],
};

for (const [file, [name, ...words]] of Object.entries(cases)) {
  test(`${file} is what \`proxy ${name} ${words.join(" ")}\` prints`, (t) => {
    t.assert.fileSnapshot(made(name, ...words), `${import.meta.dirname}/golden/${file}`, {
      serializers: [(text: string) => text],
    });
  });
}

/** What a wrong value is told; every message names the option, the value and what to give. */
const refused: [string[], RegExp][] = [
  [["--edge", "127.0.0.1"], /--edge <host:port>' argument '127\.0\.0\.1' is invalid\. give <host>:<port>/],
  [["--edge", "127.0.0.1:99999"], /--edge .*'127\.0\.0\.1:99999'.*give a port from 1 to 65535/],
  [["--edge", "2001:db8::1:25"], /\[2001:db8::4\]:2525/],
  [["--edge", "a:1\n    bind *:1"], /--edge .*give <host>:<port>/s],
  [["--hostname", "mail example"], /--hostname .*'mail example'.*give a host name/],
  [["--cert", "/etc/x.pem; evil"], /--cert .*'\/etc\/x\.pem; evil'.*give a path of letters/],
  [["--max-per-ip", "many"], /--max-per-ip .*'many'.*give a whole number/],
  [["--migrate-weight", "101"], /--migrate-weight .*'101'.*from 0 to 100/],
  [["--migrate-weight", "10"], /--migrate-weight 10 has nowhere to go: .*--native-edge/],
  [["--listen", "all"], /--listen .*'all'.*give an address/],
  [["--starttls-port", "465"], /--starttls-port 465 is --smtps-port as well: .*give two ports/],
  [["--edge-dns", "10.0.0.4:2465"], /--edge-dns .*'10\.0\.0\.4:2465'.*one edge, for --edge/],
  [["--edge-dns", "edge:2465", "--edge-count", "0"], /--edge-count .*'0'.*from 1 to 1000/],
  [["--edge-dns", "edge:2465", "--name-server", "127.0.0.11"], /--name-server .*give <host>:<port>/],
  [["--edge-count", "5"], /--edge-count is about names .*--edge-dns <name:port>/],
  [["--edge", "a:1/2", "--edge", "b:1"], /the edge b:1 has no health port and others have: give all/],
];

for (const [words, wanted] of refused) {
  test(`${JSON.stringify(words.join(" "))} is refused with its cure`, () => {
    assert.throws(() => made("haproxy", ...words), wanted);
  });
}

test("Caddy asks an authority for a certificate, or has one", () => {
  const acme = ["--acme", "https://acme.example.com/directory"];
  assert.throws(() => made("caddy", ...acme, "--cert", "/etc/x.pem"), /--acme https:.* --cert .*: give one/);
  assert.throws(() => made("caddy", "--acme-root", "/etc/x.pem"), /--acme-root \/etc\/x\.pem .*--acme <url>/);
  assert.throws(
    () => made("caddy", "--acme", "http://a.example/d"),
    /--acme .*'http:.*give a URL such as https:/,
  );
});

test("no proxy has an option that it could not keep", () => {
  assert.throws(() => made("nginx-mail", "--starttls-edge", "a:1"), /unknown option/);
  assert.throws(() => made("caddy", "--max-per-ip", "1"), /unknown option/);
  assert.throws(() => made("nginx", "--acme", "https://a.example/d"), /unknown option/);
  assert.throws(() => made("nginx", "--max-rate-per-ip", "1"), /unknown option/);
  assert.throws(() => made("haproxy", "--key", "a"), /unknown option/);
  assert.throws(() => made("nginx", "--edge-dns", "edge:1"), /unknown option/);
  assert.throws(() => made("caddy", "--edge-dns", "edge:1"), /unknown option/);
});

test("no limit is no limit", () => {
  assert.doesNotMatch(made("haproxy", "--max-per-ip", "0", "--max-rate-per-ip", "0"), /per_ip|track-sc0/);
  assert.doesNotMatch(made("nginx", "--max-per-ip", "0"), /limit_conn/);
});

test("an edge that is a name comes with a word about when that is looked up", () => {
  const name = ["--edge", "edge:2465"];
  assert.match(made("nginx", ...name), /A name is looked up when nginx starts.*\n.*after a reload/);
  assert.match(made("caddy", ...name), /A name is looked up for each session.*: name each edge/);
  for (const proxy of ["nginx", "caddy"]) assert.doesNotMatch(made(proxy, ...remote), /A name is/);
});

test("587 never speaks TLS from the first octet on", () => {
  for (const [name, ...words] of Object.values(cases))
    assert.doesNotMatch(made(name, ...words), /^\s*(bind|listen) \S*587\b.* ssl/m);
});
