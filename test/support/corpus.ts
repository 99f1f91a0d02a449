import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";

const folder = resolve(import.meta.dirname, "../../../shared/corpus");

/** The real messages that lie beside the workspace, each line ended by CRLF as SMTP carries it; none where they are not. */
export function corpus(): { name: string; raw: Buffer }[] {
  if (!existsSync(folder)) return [];
  return readdirSync(folder, { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".eml"))
    .sort()
    .map((name) => ({
      name,
      raw: Buffer.from(readFileSync(join(folder, name), "latin1").replace(/\r?\n/g, "\r\n"), "latin1"),
    }));
}
