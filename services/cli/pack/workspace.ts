import { globSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";

/** The part of a package.json that packing reads. */
export interface Manifest {
  name: string;
  version: string;
  license: string;
  /** Entries of the package: a single source, or one for each subpath. */
  exports: string | Record<string, string>;
  bin?: Record<string, string>;
  /** What goes along as it is, beside the compiled sources: folders and files. */
  files?: string[];
  dependencies?: Record<string, string>;
}

export interface WorkspacePackage {
  /** Folder, from the workspace's root, with `/`. */
  root: string;
  manifest: Manifest;
}

/** Every library and service, in the order of their folders; the tests' package and the examples' are not for others. */
export function readPackages(root: string): WorkspacePackage[] {
  return globSync(["libs/*/package.json", "services/*/package.json"], { cwd: root })
    .filter((file) => dirname(file) !== "services/examples")
    .sort()
    .map((file) => ({
      root: dirname(file),
      manifest: JSON.parse(readFileSync(join(root, file), "utf8")) as Manifest,
    }));
}

/** The sources behind a package's entries, such as `./index.ts`, by subpath. */
export function entriesOf({ exports }: Manifest): Record<string, string> {
  return typeof exports === "string" ? { ".": exports } : exports;
}
