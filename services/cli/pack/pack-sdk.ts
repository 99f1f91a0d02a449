import { spawnSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { compile } from "./compile.ts";
import { bundledManifest, type PackedManifest, sdkManifest } from "./manifest.ts";
import { readPackages, type WorkspacePackage } from "./workspace.ts";

/** The package that others depend on; it brings the rest along. */
const sdkName = "@millrace/pipeline";

export interface PackedSdk {
  name: string;
  version: string;
  /** Absolute path of the tarball. */
  file: string;
  /** Octets of the tarball. */
  size: number;
  /** SHA-512 in the form of package-lock.json: the same sources give the same octets. */
  integrity: string;
  /** Packages of the workspace that are in it, the SDK first. */
  packages: string[];
  /** What npm installs with it. */
  dependencies: Record<string, string>;
  /** Paths within the package, in order. */
  files: string[];
}

/** Where {@link packSdk} puts the tarball. */
export function tarballIn(root: string, out: string): string {
  const { version } = findSdk(readPackages(root)).manifest;
  return join(out, `${sdkName.slice(1).replace("/", "-")}-${version}.tgz`);
}

function findSdk(packages: readonly WorkspacePackage[]): WorkspacePackage {
  const sdk = packages.find(({ manifest }) => manifest.name === sdkName);
  if (!sdk) throw new Error(`no package of the workspace is called ${sdkName}`);
  return sdk;
}

/**
 * Builds the tarball of the SDK: JavaScript and declarations of every library and service, and the command.
 *
 * @param root of the workspace
 * @param out folder for the tarball; made when it is not there
 * @throws Error when the sources do not compile, or npm does not pack
 */
export function packSdk(root: string, out: string): PackedSdk {
  const packages = readPackages(root);
  const sdk = findSdk(packages);
  const bundled = packages.filter((each) => each !== sdk);

  const own = mkdtempSync(join(tmpdir(), "millrace-pack-"));
  try {
    const compiled = join(own, "compiled");
    compile(root, packages, compiled);

    const stage = join(own, "package");
    const place = (source: WorkspacePackage, folder: string, manifest: PackedManifest) => {
      cpSync(join(compiled, source.root), folder, { recursive: true });
      for (const file of source.manifest.files ?? [])
        cpSync(join(root, source.root, file), join(folder, file), { recursive: true });
      writeFileSync(join(folder, "package.json"), `${JSON.stringify(manifest, null, 2)}\n`);
    };
    const manifest = sdkManifest(sdk.manifest, bundled);
    place(sdk, stage, manifest);
    for (const each of bundled)
      place(each, join(stage, "node_modules", each.manifest.name), bundledManifest(each.manifest));
    cpSync(join(root, sdk.root, "README.md"), join(stage, "README.md"));
    cpSync(join(root, "LICENSE"), join(stage, "LICENSE"));

    const { filename, ...made } = npmPack(stage, own);
    mkdirSync(out, { recursive: true });
    const file = tarballIn(root, out);
    // In one step, so that whoever installs it at this moment reads the old one or the new one. Within one folder:
    // the other may be on another disk.
    cpSync(join(own, filename), `${file}.${process.pid}`);
    renameSync(`${file}.${process.pid}`, file);
    return {
      name: manifest.name,
      version: manifest.version,
      file,
      size: made.size,
      integrity: made.integrity,
      packages: [manifest.name, ...manifest.bundleDependencies],
      dependencies: Object.fromEntries(
        Object.entries(manifest.dependencies ?? {}).filter(
          ([name]) => !manifest.bundleDependencies.includes(name),
        ),
      ),
      files: made.files.map(({ path }) => path).sort(),
    };
  } finally {
    rmSync(own, { recursive: true, force: true });
  }
}

interface NpmPacked {
  filename: string;
  size: number;
  integrity: string;
  files: { path: string }[];
}

function npmPack(folder: string, destination: string): NpmPacked {
  // The folder is named, since under `npm run` npm takes its own project's for the working one.
  const words = [
    "pack",
    folder,
    "--json",
    "--ignore-scripts",
    "--loglevel=error",
    "--pack-destination",
    destination,
  ];
  const { status, stdout, stderr, error } = spawnSync("npm", words, {
    cwd: folder,
    encoding: "utf8",
    maxBuffer: 64 * 1024 * 1024,
  });
  if (status !== 0) throw new Error(`npm pack failed: ${error?.message ?? stderr.trim()}`);
  const [packed] = JSON.parse(stdout) as NpmPacked[];
  if (!packed) throw new Error("npm pack made nothing");
  return packed;
}
