// Builds the Caddy that the tests run: with caddy-l4, which no package has. Plain JavaScript without dependencies, as
// setup.mjs is. The program is kept outside of the workspace, where `npm ci` and a fresh clone leave it alone.
import { spawnSync } from "node:child_process";
import { accessSync, constants, existsSync, mkdirSync, mkdtempSync, renameSync, rmSync } from "node:fs";
import { homedir } from "node:os";
import { delimiter, join } from "node:path";
import { fileURLToPath } from "node:url";

const versions = { caddy: "v2.11.9", "caddy-l4": "v0.1.2", xcaddy: "v0.4.5" };

/** From this one on, Go fetches a newer one by itself where a module wants it. */
const oldestGo = 21;

/** Where this version of Caddy is kept, alone in its folder: that can stand in a PATH. */
export function caddyFolder(env) {
  const cache = env.XDG_CACHE_HOME || join(env.HOME || homedir(), ".cache");
  const { caddy, "caddy-l4": layer4 } = versions;
  return join(cache, "millrace", `caddy-${caddy}-l4-${layer4}-${process.platform}-${process.arch}`);
}

/**
 * Builds Caddy unless it is there. One process builds, whoever else asks meanwhile waits for it.
 *
 * @param installGo called where there is no Go that will do; may install one
 * @param say told before it begins; it takes some minutes
 * @returns what stands in the way, with its cure; undefined when Caddy is there
 */
export function installCaddy(env, installGo, say) {
  const folder = caddyFolder(env);
  if (isProgram(join(folder, "caddy"))) return undefined;
  let go = findGo(env);
  if (!go) {
    installGo();
    go = findGo(env);
  }
  if (!go)
    return `there is no Go 1.${oldestGo} or newer to build it with: get one from https://go.dev/dl/ into /usr/local/go`;
  mkdirSync(folder, { recursive: true });
  // The lock is the system's, and gone with the process that holds it.
  const lock = hasFlock(env) ? ["flock", join(folder, "lock")] : [];
  say(
    `building Caddy ${versions.caddy} with caddy-l4 ${versions["caddy-l4"]} (${go}); this takes some minutes`,
  );
  const words = ["nice", ...lock, process.execPath, fileURLToPath(import.meta.url), go];
  const { status, error } = spawnSync(words[0], words.slice(1), { env, stdio: ["ignore", 2, 2] });
  if (status === 0 && isProgram(join(folder, "caddy"))) return undefined;
  return `its build failed${error ? `: ${error.message}` : "; its reason is above"}`;
}

/** What the process with the lock does. */
function build(go, env) {
  const folder = caddyFolder(env);
  if (isProgram(join(folder, "caddy"))) return 0;
  const scratch = mkdtempSync(join(folder, "build-"));
  try {
    const words = [
      ...["run", `github.com/caddyserver/xcaddy/cmd/xcaddy@${versions.xcaddy}`, "build", versions.caddy],
      ...["--with", `github.com/mholt/caddy-l4@${versions["caddy-l4"]}`],
      ...["--output", join(scratch, "caddy")],
    ];
    const forGo = {
      ...env,
      XCADDY_WHICH_GO: go,
      TMPDIR: scratch,
      // Where Debian says "local", Go would not fetch the one that Caddy wants.
      GOTOOLCHAIN: "auto",
      GOFLAGS: `${env.GOFLAGS ?? ""} -p=2`.trim(),
    };
    const { status, error } = spawnSync(go, words, {
      env: forGo,
      stdio: ["ignore", 2, 2],
      timeout: 1_800_000,
    });
    if (error) process.stderr.write(`${go}: ${error.message}\n`);
    if (status !== 0) return 1;
    // In one step: whoever looks meanwhile sees no half of a program.
    renameSync(join(scratch, "caddy"), join(folder, "caddy"));
    return 0;
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

function findGo(env) {
  const own = join(env.GOROOT || "/usr/local/go", "bin");
  const folders = [...(env.PATH ?? "").split(delimiter).filter(Boolean), own];
  return folders.map((each) => join(each, "go")).find((file) => existsSync(file) && isNewEnough(file, env));
}

function isNewEnough(go, env) {
  const { stdout } = spawnSync(go, ["version"], { env, encoding: "utf8" });
  return Number(/go1\.(\d+)/.exec(stdout ?? "")?.[1] ?? 0) >= oldestGo;
}

/** Whether Debian's own Go, as apt-get would install it, will do. */
export function debiansGoWillDo(env) {
  const { stdout } = spawnSync("apt-cache", ["policy", "golang-go"], { env, encoding: "utf8" });
  return Number(/Candidate: (?:\d+:)?1\.(\d+)/.exec(stdout ?? "")?.[1] ?? 0) >= oldestGo;
}

function hasFlock(env) {
  return spawnSync("flock", ["--version"], { env, stdio: "ignore" }).status === 0;
}

function isProgram(file) {
  try {
    accessSync(file, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) process.exit(build(process.argv[2], process.env));
