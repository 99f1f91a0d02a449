import { existsSync } from "node:fs";
import type { Kind } from "./kind.ts";
import { faketimeLibrary } from "./site.ts";

/** Whether this process may mount file systems. */
export const isRoot = process.getuid?.() === 0;

/** Why a kind of trouble cannot be had here; undefined when it can. */
export function missingFor(kind: Kind): string | undefined {
  if (kind.disks && !isRoot) return "needs root: it mounts file systems of its own";
  if (kind.shape === "clock" && !existsSync(faketimeLibrary)) return "needs Debian's package faketime";
  return undefined;
}
