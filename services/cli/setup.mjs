// Installs what `npm start`, `npm test`, `npm run test:crash` or `npm run bench` needs and has not got:
// node setup.mjs start|test|crash|bench.
// Plain JavaScript without dependencies: it runs on the Node that the machine has, before anything is installed.
// npm scripts go on with `env node`, not `node`: their sh remembers where it found the Node for this file.
import { spawnSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { delimiter, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../../", import.meta.url));
const strict = process.env.CI === "true";
const asRoot = process.getuid?.() === 0;
/** sysexits(3): a command used wrongly, and something that is needed and not there. */
const exitStatus = { usage: 64, unavailable: 69 };

/** Programs by what they are for: one of each list in `programs` must be there, and every one of `debianFiles`. */
const tools = {
  redis: { programs: [["redis-server", "valkey-server"]], packages: ["redis-server"] },
  swaks: {
    programs: [["swaks"]],
    // swaks does STARTTLS only where these Perl modules are; Debian leaves them out.
    debianFiles: ["/usr/share/perl5/IO/Socket/SSL.pm"],
    packages: ["swaks", "libnet-ssleay-perl", "libio-socket-ssl-perl"],
  },
  postfix: { programs: [["smtp-source"], ["smtp-sink"], ["postfix"]], packages: ["postfix"] },
  openssl: { programs: [["openssl"]], packages: ["openssl"] },
  // File systems of the crash suite's own: made, mounted, filled, and cut off from their power.
  disks: {
    programs: [["mkfs.ext4"], ["mount"], ["fallocate"], ["setsid"], ["xfs_io"]],
    packages: ["e2fsprogs", "mount", "util-linux", "xfsprogs"],
  },
  faketime: { programs: [["faketime"]], packages: ["faketime"] },
};

/** Without what is `needed` there is nothing to run; without the rest, less is shown. In CI, all is needed. */
const purposes = {
  start: { needed: process.env.REDIS_URL ? [] : ["redis"], wanted: [] },
  test: { needed: ["redis"], wanted: ["swaks", "postfix", "openssl", "disks", "faketime"] },
  crash: { needed: ["redis"], wanted: ["disks", "faketime"] },
  bench: { needed: ["redis", "postfix"], wanted: [] },
};

const purpose = purposes[process.argv[2]];
if (!purpose) stop(`usage: node services/cli/setup.mjs ${Object.keys(purposes).join("|")}`, exitStatus.usage);
installNpmPackages();
installTools();

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
  const path = searchPath().filter((folder) => !folder.includes("node_modules"));
  const env = { ...process.env, PATH: path.join(delimiter) };
  // At its usual level npm warns of packages that want the pinned Node, while it is only just being installed.
  const all = [...words, "--no-audit", "--no-fund", "--loglevel=error"];
  const { status, error } = spawnSync("npm", all, { cwd: root, env, stdio: ["ignore", 2, 2] });
  if (status !== 0) stop(`npm ${words[0]} failed${error ? `: ${error.message}` : "; its reason is above"}`);
}

function installTools() {
  const missing = [...purpose.needed, ...purpose.wanted].filter((name) => !isInstalled(tools[name]));
  if (missing.length === 0) return;
  const packages = missing.flatMap((name) => tools[name].packages);
  const blocked = missing.filter((name) => strict || purpose.needed.includes(name));
  if (asRoot && hasProgram("apt-get")) {
    say(`installing ${packages.join(" ")} (apt-get)`);
    const problem = aptInstall(packages);
    const left = missing.filter((name) => !isInstalled(tools[name]));
    if (left.length === 0) return;
    if (problem) process.stderr.write(problem);
    if (left.some((name) => blocked.includes(name)))
      stop(`apt-get did not install ${named(left)}: mend what it says above, then start again`);
    return say(`without ${named(left)}: tests that need it are skipped`);
  }
  const cure = installCommand(packages);
  if (blocked.length > 0) stop(`${named(blocked)} not found: run ${cure}`);
  say(`without ${named(missing)}: tests that need it are skipped; to have them, run ${cure}`);
}

function named(names) {
  return names.map((name) => tools[name].packages[0]).join(", ");
}

/** Installs Debian packages without a question, starting no service and removing no package. */
function aptInstall(packages) {
  const env = { ...process.env, DEBIAN_FRONTEND: "noninteractive" };
  const apt = (...words) =>
    spawnSync("apt-get", ["-q", "-y", ...words], {
      env,
      encoding: "utf8",
      stdio: ["ignore", "pipe", "pipe"],
    });
  const install = () => apt("install", "--no-install-recommends", "--no-remove", ...packages);
  if (packages.includes("postfix")) {
    const answer = "postfix postfix/main_mailer_type select No configuration\n";
    spawnSync("debconf-set-selections", { env, input: answer, stdio: ["pipe", "ignore", "ignore"] });
  }
  const allowServices = forbidServices();
  try {
    const lists = "/var/lib/apt/lists";
    if (
      existsSync(lists) &&
      readdirSync(lists).some((name) => name.endsWith("Packages") || name.includes("_Packages"))
    )
      if (install().status === 0) return undefined;
    // No package lists, or ones so old that they name files which are gone.
    const update = apt("update");
    const second = install();
    return second.status === 0 ? undefined : `${update.stderr}${second.stderr}`;
  } finally {
    allowServices();
  }
}

/**
 * Debian starts a service as it installs it. A policy-rc.d that says 101 forbids that, and stands only as
 * long as the installation runs; one that the machine has is left alone.
 */
function forbidServices() {
  const policy = "/usr/sbin/policy-rc.d";
  const waitForChild = () => {};
  process.on("SIGINT", waitForChild);
  let ours = false;
  try {
    writeFileSync(policy, "#!/bin/sh\nexit 101\n", { mode: 0o755, flag: "wx" });
    ours = true;
  } catch (error) {
    if (error.code !== "EEXIST") throw error;
  }
  return () => {
    if (ours) rmSync(policy, { force: true });
    process.off("SIGINT", waitForChild);
  };
}

function installCommand(packages) {
  const managers = {
    "apt-get": `sudo apt-get install -y ${packages.join(" ")}`,
    brew: `brew install ${packages.join(" ").replace("redis-server", "redis")}`,
    dnf: `sudo dnf install -y ${packages.join(" ").replace("redis-server", "valkey")}`,
    apk: `sudo apk add ${packages.join(" ").replace("redis-server", "valkey")}`,
  };
  const found = Object.keys(managers).find(hasProgram);
  return found ? managers[found] : `your package manager for ${packages.join(", ")}`;
}

function isInstalled({ programs, debianFiles = [] }) {
  return (
    programs.every((names) => names.some(hasProgram)) &&
    (!existsSync("/etc/debian_version") || debianFiles.every((file) => existsSync(file)))
  );
}

function hasProgram(name) {
  return [...searchPath(), "/usr/sbin", "/usr/local/sbin"].some((folder) => existsSync(join(folder, name)));
}

function searchPath() {
  return (process.env.PATH ?? "").split(delimiter).filter(Boolean);
}

function say(line) {
  process.stderr.write(`millrace setup: ${line}\n`);
}

function stop(line, status = exitStatus.unavailable) {
  say(line);
  process.exit(status);
}
