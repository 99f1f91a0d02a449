import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { join, resolve } from "node:path";
import { promisify } from "node:util";

/** Where setup.mjs puts the Caddy with caddy-l4 that it has built: alone in a folder, for a PATH. */
export const caddyFolder = resolve(import.meta.dirname, "../../node_modules/.cache/caddy");
export const caddy = join(caddyFolder, "caddy");

/** Why tests with Caddy cannot be run; false where they can. */
export const noCaddy =
  !existsSync(caddy) && "there is no Caddy with caddy-l4; node services/cli/setup.mjs test builds it";

/** Has the Caddy that runs with this file read it again; resolves when the new configuration is in use. */
export async function reloadCaddy(file: string, ...words: string[]): Promise<void> {
  await promisify(execFile)(caddy, ["reload", "--adapter", "caddyfile", "--config", file, ...words]);
}
