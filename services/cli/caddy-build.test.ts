import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, test } from "node:test";
import { caddyFolder, debiansGoWillDo, installCaddy } from "./caddy-build.mjs";

/** A Go of ours, which writes down what it is told, and makes a program if `GO_WORKS`. */
let folder: string;
let env: Record<string, string>;
const bin = () => join(folder, "bin");
const module = new URL("./caddy-build.mjs", import.meta.url).href;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "millrace-go-"));
  mkdirSync(bin());
  env = {
    PATH: `${bin()}:/usr/bin:/bin`,
    // The machine's own Go is none of ours.
    GOROOT: folder,
    XDG_CACHE_HOME: join(folder, "cache"),
    GO_WORKS: "yes",
  };
  putGo("1.26.8");
});
afterEach(() => rmSync(folder, { recursive: true }));

function putGo(version: string): void {
  const script = [
    "#!/bin/sh",
    `[ "$1" = version ] && echo "go version go${version} linux/amd64" && exit 0`,
    `echo "$GOFLAGS $GOTOOLCHAIN $*" >> ${folder}/calls`,
    `[ -n "$GO_WORKS" ] || { echo "403 Forbidden" >&2; exit 1; }`,
    'for last; do :; done; printf "#!/bin/sh\\n" > "$last"; sleep 1; chmod +x "$last"',
  ];
  writeFileSync(join(bin(), "go"), `${script.join("\n")}\n`, { mode: 0o755 });
}

const said: string[] = [];
const install = (installGo: () => void = () => undefined) =>
  installCaddy(env, installGo, (line) => said.push(line));
const calls = () => readFileSync(join(folder, "calls"), "utf8").trim().split("\n");

test("every version is named, and two processors are enough", () => {
  assert.equal(install(), undefined);
  assert.match(
    calls().join(),
    /^-p=2 auto run github\.com\/caddyserver\/xcaddy\/cmd\/xcaddy@v[\d.]+ build v2\.[\d.]+ --with github\.com\/mholt\/caddy-l4@v[\d.]+ --output /,
  );
  assert.match(said.join(), /building Caddy v2\.\S+ with caddy-l4 v\S+ \(.*\/go\)/);
  // Nothing else is in the folder that the tests put into their PATH, but the lock.
  assert.deepEqual(readdirSync(caddyFolder(env)).sort(), ["caddy", "lock"]);
});

test("docker/Dockerfile builds the same Caddy", () => {
  assert.equal(install(), undefined);
  const [words = ""] = / build v\S+ --with \S+ --output /.exec(calls().join()) ?? [];
  assert.ok(words);
  const dockerfile = readFileSync(new URL("../../docker/Dockerfile", import.meta.url), "utf8");
  assert.ok(dockerfile.includes(`xcaddy${words}`), `xcaddy${words}`);
});

test("one that is there is not built again", () => {
  assert.equal(install(), undefined);
  putGo("1.18");
  assert.equal(
    install(() => assert.fail("no Go is needed")),
    undefined,
  );
  assert.equal(calls().length, 1);
});

test("two processes that want it at once build it once", async () => {
  const program = `import { installCaddy } from ${JSON.stringify(module)};
    process.exitCode = installCaddy(process.env, () => {}, () => {}) === undefined ? 0 : 1;`;
  const both = [1, 2].map(() => spawn(process.execPath, ["--input-type=module", "-e", program], { env }));
  const exits = await Promise.all(both.map((child) => once(child, "exit")));
  assert.deepEqual(
    exits.map(([status]) => status),
    [0, 0],
  );
  assert.equal(calls().length, 1);
});

test("a build that fails leaves nothing that looks like a program", () => {
  env.GO_WORKS = "";
  assert.match(install() ?? "", /its build failed; its reason is above/);
  assert.ok(!existsSync(join(caddyFolder(env), "caddy")));
  assert.deepEqual(readdirSync(caddyFolder(env)), ["lock"]);
});

test("where there is no Go, or an old one, a new one is asked for", () => {
  putGo("1.19.8");
  assert.equal(
    install(() => putGo("1.24.4")),
    undefined,
  );
  putGo("1.19.8");
  rmSync(caddyFolder(env), { recursive: true });
  assert.match(install() ?? "", /no Go 1\.21 or newer .* https:\/\/go\.dev\/dl\//);
  assert.equal(calls().length, 1);
});

test("Debian's Go is installed only where it will do", () => {
  const candidate = (version: string) => {
    const answer = `golang-go:\n  Installed: (none)\n  Candidate: ${version}\n`;
    writeFileSync(join(bin(), "apt-cache"), `#!/bin/sh\nprintf '${answer.replaceAll("\n", "\\n")}'\n`, {
      mode: 0o755,
    });
    return debiansGoWillDo(env);
  };
  assert.equal(candidate("2:1.19~1"), false);
  assert.equal(candidate("(none)"), false);
  assert.equal(candidate("2:1.24~2"), true);
});
