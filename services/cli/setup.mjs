// Installs what `npm start`, `npm test`, `npm run pack:sdk`, `npm run test:crash` or `npm run bench` needs and has not
// got: node setup.mjs start|test|pack|crash|bench.
// Plain JavaScript without dependencies: it runs on the Node that the machine has, before anything is installed.
// npm scripts go on with `env node`, not `node`: their sh remembers where it found the Node for this file.
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { delimiter, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { caddyFolder, debiansGoWillDo, installCaddy } from "./caddy-build.mjs";
import { installTools, missingTools, named } from "./system-packages.mjs";

const root = fileURLToPath(new URL("../../", import.meta.url));
const strict = process.env.CI === "true";
/** sysexits(3): a command used wrongly, and something that is needed and not there. */
const exitStatus = { usage: 64, unavailable: 69 };

/** A server that speaks S3, in a Python environment of its own: no Debian package is one. */
const s3Server = {
  folder: join(root, "node_modules/.cache/s3-server"),
  packages: ["moto[s3]==5.2.5", "flask==3.1.3", "flask-cors==6.0.5"],
};

/** Reads compose files as Docker Compose does, which is made with it, and needs no engine. */
const composeReader = {
  folder: join(root, "node_modules/.cache/compose-go"),
  program: "github.com/compose-spec/compose-go/v2/cmd@v2.16.2",
};

/** Without what is `needed` there is nothing to run; without the rest, less is shown. In CI, all is needed. */
const purposes = {
  start: { needed: process.env.REDIS_URL ? [] : ["redis"], wanted: [] },
  test: {
    needed: ["redis"],
    wanted: [
      ...["swaks", "postfix", "openssl", "disks", "faketime"],
      ...["haproxy", "socat", "nginx", "certbot", "firewall", "firewalls", "systemd", "curl"],
      ...["pebble", "rspamd", "clamav", "dnsmasq", "python"],
    ],
  },
  pack: { needed: [], wanted: [] },
  crash: { needed: ["redis"], wanted: ["disks", "faketime"] },
  bench: { needed: ["redis", "postfix"], wanted: ["haproxy", "openssl"] },
};

const purpose = purposes[process.argv[2]];
if (!purpose) stop(`usage: node services/cli/setup.mjs ${Object.keys(purposes).join("|")}`, exitStatus.usage);
installNpmPackages();
installWhatIsMissing();
if (purpose === purposes.test) {
  installS3Server();
  installCaddyForTests();
  installComposeReader();
}

function installNpmPackages() {
  if (npmIsBehind()) {
    say("installing npm packages (npm ci); this takes half a minute");
    npm(["ci", "--include=dev"]);
  }
  if (pinnedNodeIsMissing()) {
    // npm's package `node` fetches its binary in an install script, which an npmrc may have switched off.
    say("installing the pinned Node (npm rebuild node)");
    npm(["rebuild", "node", "--ignore-scripts=false"]);
  }
  const left = npmIsBehind() || pinnedNodeIsMissing();
  if (left) stop(`npm ci ran, and ${left}; remove node_modules and run npm ci to see why`);
}

/** What of package-lock.json is not installed, in words; undefined when all is there. */
function npmIsBehind() {
  const installedList = join(root, "node_modules/.package-lock.json");
  // npm writes this list last of all, so that an interrupted installation has none.
  if (!existsSync(installedList)) return "node_modules is not complete";
  const [wanted, installed] = [join(root, "package-lock.json"), installedList].map(
    (file) => JSON.parse(readFileSync(file, "utf8")).packages,
  );
  for (const [path, entry] of Object.entries(wanted)) {
    // Optional packages are those of other platforms, too. The workspace's own packages are links.
    if (!path.includes("node_modules/") || entry.optional || entry.devOptional) continue;
    const found = installed[path];
    if (
      found?.version !== entry.version ||
      found?.integrity !== entry.integrity ||
      found?.link !== entry.link
    )
      return `${path} is not the one of package-lock.json`;
  }
  if (!existsSync(join(root, "node_modules/.bin/millrace"))) return "the command millrace is not linked";
  return undefined;
}

function pinnedNodeIsMissing() {
  return existsSync(join(root, "node_modules/.bin/node")) ? undefined : "the pinned Node is not there";
}

function npm(words) {
  // npm replaces node_modules, so it must not be run by the Node that lives in there.
  const folders = (process.env.PATH ?? "").split(delimiter);
  const path = folders.filter((folder) => folder && !folder.includes("node_modules"));
  const env = { ...process.env, PATH: path.join(delimiter) };
  // At its usual level npm warns of packages that want the pinned Node, while it is only just being installed.
  const all = [...words, "--no-audit", "--no-fund", "--loglevel=error"];
  const { status, error } = spawnSync("npm", all, { cwd: root, env, stdio: ["ignore", 2, 2] });
  if (status !== 0) stop(`npm ${words[0]} failed${error ? `: ${error.message}` : "; its reason is above"}`);
}

function installWhatIsMissing() {
  const { needed, wanted } = purpose;
  const toInstall = missingTools([...needed, ...wanted], process.env);
  const { missing, cure, problem } = installTools(toInstall, process.env, say);
  if (missing.length === 0) return;
  const blocked = missing.filter((name) => strict || needed.includes(name));
  if (problem !== undefined) {
    process.stderr.write(problem);
    if (blocked.length > 0)
      stop(`apt-get did not install ${named(missing)}: mend what it says above, then start again`);
    return say(`without ${named(missing)}: tests that need it are skipped`);
  }
  if (blocked.length > 0) stop(`${named(blocked)} not found: run ${cure}`);
  say(`without ${named(missing)}: tests that need it are skipped; to have them, run ${cure}`);
}

function installS3Server() {
  const { folder, packages } = s3Server;
  // Written last of all, so that an interrupted installation has none.
  const list = join(folder, "installed");
  if (existsSync(list) && readFileSync(list, "utf8") === packages.join("\n")) return;
  say(`installing ${packages[0]} (pip)`);
  rmSync(folder, { recursive: true, force: true });
  const steps = [
    ["python3", "-m", "venv", folder],
    [join(folder, "bin/pip"), "install", "--quiet", "--disable-pip-version-check", ...packages],
  ];
  for (const [command, ...words] of steps) {
    const { status, error } = spawnSync(command, words, { stdio: ["ignore", 2, 2] });
    if (status === 0) continue;
    const problem = `${command} ${words.slice(0, 2).join(" ")} failed${error ? `: ${error.message}` : "; its reason is above"}`;
    if (strict) stop(problem);
    return say(`${problem}: tests that need an S3 server fail`);
  }
  writeFileSync(list, packages.join("\n"));
}

function installCaddyForTests() {
  const installGo = () => debiansGoWillDo(process.env) && installTools(["go"], process.env, say);
  const problem = installCaddy(process.env, installGo, say);
  if (problem !== undefined) {
    if (strict) stop(`no Caddy with caddy-l4: ${problem}`);
    return say(`without Caddy with caddy-l4, tests that need it are skipped: ${problem}`);
  }
  // Where tests look, whichever version it is.
  const link = join(root, "node_modules/.cache/caddy");
  rmSync(link, { force: true });
  mkdirSync(dirname(link), { recursive: true });
  symlinkSync(caddyFolder(process.env), link);
}

function installComposeReader() {
  const { folder, program } = composeReader;
  const done = join(folder, "installed");
  if (existsSync(done) && readFileSync(done, "utf8") === program) return;
  say(`installing ${program} (go)`);
  const env = { ...process.env, GOBIN: folder };
  const { status, error } = spawnSync("go", ["install", program], { env, stdio: ["ignore", 2, 2] });
  if (status === 0) return writeFileSync(done, program);
  const problem =
    error?.code === "ENOENT" ? "there is no go: install Go 1.24 or newer" : `go install ${program} failed`;
  if (strict) stop(problem);
  say(`${problem}: tests of docker/compose.yaml are skipped`);
}

function say(line) {
  process.stderr.write(`millrace setup: ${line}\n`);
}

function stop(line, status = exitStatus.unavailable) {
  say(line);
  process.exit(status);
}
