import { spawn } from "node:child_process";
import { existsSync, mkdirSync, readFileSync } from "node:fs";
import { cp, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { homedir, tmpdir } from "node:os";
import { join } from "node:path";
import { freePort } from "../../support/free-port.ts";
import { command, end, listening, NotInstalled, type System } from "../system.ts";

const version = "3.3.4";

/**
 * Starts Haraka, which hands each message on to `sinkPort` before it says 250. It is installed once, into the
 * user's cache folder: nothing of ours depends on it.
 */
export async function startHaraka(sinkPort: number): Promise<System> {
  const cache = join(
    process.env.XDG_CACHE_HOME ?? join(homedir(), ".cache"),
    "millrace-bench",
    `haraka-${version}`,
  );
  const program = join(cache, "node_modules/Haraka/bin/haraka");
  if (!existsSync(program)) {
    mkdirSync(cache, { recursive: true });
    await command("npm", ["install", "--prefix", cache, "--no-audit", "--no-fund", `Haraka@${version}`], {
      cwd: cache,
    }).catch((error: Error) => {
      const reason = /npm error (?:code )?(\S+)/.exec(error.message)?.[1] ?? "npm install failed";
      throw new NotInstalled(`not installed (${reason})`);
    });
  }
  const folder = await mkdtemp(join(tmpdir(), "millrace-haraka-"));
  const port = await freePort();
  // A configuration folder stands for the whole of Haraka's own, not for what differs from it.
  await cp(join(cache, "node_modules/Haraka/config"), join(folder, "config"), { recursive: true });
  const files: Record<string, string> = {
    "config/smtp.ini": `listen=127.0.0.1:${port}\nnodes=0\n`,
    "config/plugins": "accept_all\nqueue/smtp_forward\n",
    "config/smtp_forward.ini": `host=127.0.0.1\nport=${sinkPort}\n`,
    "config/loglevel": "LOGERROR\n",
    "config/me": "haraka.bench.example\n",
    "plugins/accept_all.js": "exports.hook_rcpt = (next) => next(OK);\n",
    "package.json": "{}\n",
  };
  for (const [name, content] of Object.entries(files)) {
    await mkdir(join(folder, name, ".."), { recursive: true });
    await writeFile(join(folder, name), content);
  }
  const child = spawn(process.execPath, [program, "-c", folder], { stdio: ["ignore", "ignore", "inherit"] });
  await listening(port, child);
  const installed = JSON.parse(readFileSync(join(cache, "node_modules/Haraka/package.json"), "utf8")) as {
    version: string;
  };
  return {
    name: `Haraka ${installed.version}`,
    port,
    async stop() {
      await end(child);
      await rm(folder, { recursive: true, force: true, maxRetries: 5 });
    },
  };
}
