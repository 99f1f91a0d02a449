import { mkdirSync, mkdtempSync, writeFileSync } from "node:fs";
import { rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { freePort } from "@millrace/test/free-port";
import { type Program, startProgram } from "./program.ts";

export interface Rspamd extends Program {
  url: string;
}

/** An rspamd with its own settings, files and port, that asks nobody else: no name server, no Redis, no fuzzy storage. */
export async function startRspamd(): Promise<Rspamd> {
  const folder = mkdtempSync(join(tmpdir(), "mr-rspamd-"));
  const [port, dead] = [await freePort(), await freePort()];
  const url = `http://127.0.0.1:${port}`;
  for (const name of ["db", "run"]) mkdirSync(join(folder, name), { mode: 0o777 });
  writeFileSync(join(folder, "suffixes"), "com\ntest\n");
  const settings = join(folder, "rspamd.conf");
  writeFileSync(
    settings,
    `
.include "$CONFDIR/actions.conf"
options {
  # Making one expression of all the suffixes there are takes minutes where there is much else to do.
  url_tld = "${folder}/suffixes";
  pidfile = "${folder}/run/rspamd.pid";
  tempdir = "${folder}/run";
  filters = "";
  gtube_patterns = "all";
  control_socket = "${folder}/run/rspamd.sock mode=0600";
  dns { nameserver = ["127.0.0.1:${dead}"]; timeout = 0.2s; retransmits = 1; }
}
logging { type = "console"; level = "warning"; }
worker "normal" { bind_socket = "127.0.0.1:${port}"; count = 1; }
`,
  );
  const program = await startProgram(
    // Without its lists of rules: GTUBE is known to rspamd itself.
    ["rspamd", "--no-fork", "--insecure", "--config", settings, "--var", `DBDIR=${folder}/db`],
    () =>
      fetch(`${url}/ping`).then(
        ({ ok }) => ok,
        () => false,
      ),
  );
  return {
    ...program,
    url,
    async stop() {
      await program.stop();
      await rm(folder, { recursive: true, force: true, maxRetries: 5 });
    },
  };
}
