import { globSync, statSync } from "node:fs";
import { join } from "node:path";

/** All that a tarball is made from. Folders too: their time tells of files that were removed. */
const sources = ["{libs,services}/**", "package-lock.json", "tsconfig.json", "LICENSE"];

/** Whether the tarball is there, and nothing that it was made from has changed since. */
export function isUpToDate(root: string, tarball: string): boolean {
  const made = statSync(tarball, { throwIfNoEntry: false })?.mtimeMs;
  if (made === undefined) return false;
  const paths = globSync(sources, { cwd: root, exclude: (name) => name.split("/").includes("node_modules") });
  return paths.every(
    (path) => (statSync(join(root, path), { throwIfNoEntry: false })?.mtimeMs ?? made) <= made,
  );
}
