import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, relative, sep } from "node:path";
import { entriesOf, type WorkspacePackage } from "./workspace.ts";

/**
 * Compiles the entries of packages, and what they import, to JavaScript and declarations. Nothing else is: tests are
 * left out because no entry reaches them.
 *
 * @param root of the workspace; its tsconfig.json says how strict the compiler is
 * @param folder gets the files, under the same paths as in the workspace
 * @throws Error with everything the compiler complained about, or with the sources it left out
 */
export function compile(root: string, packages: readonly WorkspacePackage[], folder: string): void {
  const own = mkdtempSync(join(tmpdir(), "millrace-tsc-"));
  try {
    const config = {
      extends: join(root, "tsconfig.json"),
      compilerOptions: {
        noEmit: false,
        noEmitOnError: true,
        declaration: true,
        rewriteRelativeImportExtensions: true,
        listFiles: true,
        rootDir: root,
        outDir: folder,
        typeRoots: [join(root, "node_modules/@types")],
        // By way of node_modules the packages of a workspace count, now and then, as somebody else's: tsc 7.0 then
        // leaves out their files without a word.
        paths: Object.fromEntries(packages.flatMap((each) => sourcesByName(root, each))),
      },
      files: packages.flatMap((each) => sourcesByName(root, each).flatMap(([, sources]) => sources)),
      include: [],
    };
    const file = join(own, "tsconfig.json");
    writeFileSync(file, JSON.stringify(config));
    const { status, stdout, error } = spawnSync(join(root, "node_modules/.bin/tsc"), ["-p", file], {
      cwd: root,
      encoding: "utf8",
      maxBuffer: 64 * 1024 * 1024,
    });
    if (status !== 0) throw new Error(`tsc failed: ${error?.message ?? complaints(stdout)}`);
    const left = stdout
      .split("\n")
      .filter((source) => isOurs(root, source) && !hasOutput(root, source, folder));
    if (left.length > 0) throw new Error(`tsc failed: it made nothing of ${left.join(", ")}`);
  } finally {
    rmSync(own, { recursive: true, force: true });
  }
}

/** What a package's entries are imported as, each with the path of its source. */
function sourcesByName(root: string, { root: folder, manifest }: WorkspacePackage): [string, [string]][] {
  return Object.entries(entriesOf(manifest)).map(([subpath, source]) => [
    manifest.name + subpath.slice(1),
    [join(root, folder, source)],
  ]);
}

/** What tsc says, without the list of its files. */
function complaints(output: string): string {
  return output
    .split("\n")
    .filter((line) => !/^\/\S+$/.test(line))
    .join("\n")
    .trim();
}

function isOurs(root: string, file: string): boolean {
  return file.startsWith(root + sep) && !file.includes("/node_modules/") && !/\.d\.[cm]?ts$/.test(file);
}

function hasOutput(root: string, source: string, folder: string): boolean {
  const name = join(folder, relative(root, source)).replace(/\.ts$/, "");
  return existsSync(`${name}.js`) && existsSync(`${name}.d.ts`);
}
