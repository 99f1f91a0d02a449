// Programs that Millrace runs and npm does not bring: whether they are there, and how they come. Plain JavaScript
// without dependencies: setup.mjs runs it on the Node that the machine has, `millrace up` on the pinned one.
import { spawnSync } from "node:child_process";
import { existsSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { delimiter, join } from "node:path";

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
  haproxy: { programs: [["haproxy"]], packages: ["haproxy"] },
  socat: { programs: [["socat"]], packages: ["socat"] },
  nginx: {
    programs: [["nginx"]],
    // Debian's nginx speaks SMTP with these two alone.
    debianFiles: ["/usr/lib/nginx/modules/ngx_stream_module.so", "/usr/lib/nginx/modules/ngx_mail_module.so"],
    packages: ["nginx", "libnginx-mod-stream", "libnginx-mod-mail"],
  },
  // A certificate authority of one's own to ask for certificates, and who asks it.
  certbot: { programs: [["certbot"]], packages: ["certbot"] },
  firewall: {
    programs: [["nft"], ["iptables-restore"], ["ip"], ["unshare"]],
    packages: ["nftables", "iptables", "iproute2", "util-linux"],
  },
  // Which root certificates this machine trusts, and who asks by HTTPS.
  curl: { programs: [["curl"], ["update-ca-certificates"]], packages: ["curl", "ca-certificates"] },
  // Two that wrap the firewall.
  firewalls: { programs: [["ufw"], ["firewall-cmd"]], packages: ["ufw", "firewalld"] },
  systemd: { programs: [["systemd-analyze"]], packages: ["systemd"] },
  // File systems of the crash suite's own: made, mounted, filled, and cut off from their power.
  disks: {
    programs: [["mkfs.ext4"], ["mount"], ["fallocate"], ["setsid"], ["xfs_io"]],
    packages: ["e2fsprogs", "mount", "util-linux", "xfsprogs"],
  },
  faketime: { programs: [["faketime"]], packages: ["faketime"] },
  // An ACME authority of a test's own, and the name server that it asks.
  pebble: { programs: [["pebble"], ["pebble-challtestsrv"]], packages: ["pebble"] },
  go: { programs: [["go"]], packages: ["golang-go"] },
  // What the example workers talk to: scanners, and a name server for records of a test's own.
  rspamd: { programs: [["rspamd"]], packages: ["rspamd"] },
  clamav: { programs: [["clamd"]], packages: ["clamav-daemon"] },
  dnsmasq: { programs: [["dnsmasq"]], packages: ["dnsmasq-base"] },
  python: {
    programs: [["python3"]],
    // Python's own way to make an environment; Debian leaves it out.
    debianFiles: ["/usr/share/doc/python3-venv"],
    packages: ["python3-venv"],
  },
};

/** Those of the tools that are not installed. */
export function missingTools(names, env) {
  return names.filter((name) => !isInstalled(tools[name], env));
}

/** The tools as their Debian packages are called. */
export function named(names) {
  return names.map((name) => tools[name].packages[0]).join(", ");
}

/**
 * As root where there is apt-get, installs tools that are missing, without a question, starting no service and
 * removing no package.
 *
 * @param say told before it begins; it takes up to a minute
 * @returns those still `missing`; their `cure`, the one command to run; what apt-get had to say, if it was run and did
 * not do it
 */
export function installTools(missing, env, say) {
  const packages = missing.flatMap((name) => tools[name].packages);
  const cure = installCommand(packages, env);
  if (missing.length === 0 || process.getuid?.() !== 0 || !hasProgram("apt-get", env))
    return { missing, cure };
  say(`installing ${packages.join(" ")} (apt-get)`);
  const problem = aptInstall(packages, env);
  const left = missingTools(missing, env);
  return { missing: left, cure, problem: left.length > 0 ? (problem ?? "") : undefined };
}

function aptInstall(packages, environment) {
  const env = { ...environment, DEBIAN_FRONTEND: "noninteractive" };
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

function installCommand(packages, env) {
  const managers = {
    "apt-get": `sudo apt-get install -y ${packages.join(" ")}`,
    brew: `brew install ${packages.join(" ").replace("redis-server", "redis")}`,
    dnf: `sudo dnf install -y ${packages.join(" ").replace("redis-server", "valkey")}`,
    apk: `sudo apk add ${packages.join(" ").replace("redis-server", "valkey")}`,
  };
  const found = Object.keys(managers).find((manager) => hasProgram(manager, env));
  return found ? managers[found] : `your package manager for ${packages.join(", ")}`;
}

function isInstalled({ programs, debianFiles = [] }, env) {
  return (
    programs.every((names) => names.some((name) => hasProgram(name, env))) &&
    (!existsSync("/etc/debian_version") || debianFiles.every((file) => existsSync(file)))
  );
}

function hasProgram(name, env) {
  const folders = (env.PATH ?? "").split(delimiter).filter(Boolean);
  return [...folders, "/usr/sbin", "/usr/local/sbin"].some((folder) => existsSync(join(folder, name)));
}
