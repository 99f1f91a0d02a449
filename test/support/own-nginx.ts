import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { delimiter, join } from "node:path";
import { serverPath } from "./proxy-process.ts";

/**
 * A PATH on which `nginx -s reload` speaks to the nginx of a test, not to the machine's own, and there is no systemd.
 * @param file its configuration
 */
export function pathOfOwnNginx(folder: string, file: string): string {
  const bin = join(folder, "bin");
  mkdirSync(bin);
  const folders = serverPath.PATH.split(delimiter);
  const program = folders.map((each) => join(each, "nginx")).find(existsSync);
  const script = (name: string, line: string) =>
    writeFileSync(join(bin, name), `#!/bin/sh\n${line}\n`, { mode: 0o755 });
  script("nginx", `exec ${program} -e stderr -c ${file} "$@"`);
  script("systemctl", "exit 3");
  return `${bin}:${serverPath.PATH}`;
}
