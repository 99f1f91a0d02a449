import { entriesOf, type Manifest, type WorkspacePackage } from "./workspace.ts";

/** A package.json as it is packed. */
export interface PackedManifest {
  name: string;
  version: string;
  license: string;
  type: "module";
  exports: Record<string, { types: string; default: string }>;
  bin?: Record<string, string>;
  dependencies?: Record<string, string>;
}

/** Of a package that comes along inside the SDK. */
export function bundledManifest(manifest: Manifest): PackedManifest {
  const { name, version, license, bin, dependencies } = manifest;
  return {
    name,
    version,
    license,
    type: "module",
    exports: packedExports(entriesOf(manifest)),
    ...(bin && { bin }),
    ...(dependencies && { dependencies }),
  };
}

/**
 * Of the SDK itself. It brings all other packages of the workspace along, in its own node_modules. What they need of
 * others npm installs from the user's registry, in the one version that all of them name.
 *
 * @throws Error when two packages of the workspace name different versions of a third
 */
export function sdkManifest(
  sdk: Manifest,
  bundled: readonly WorkspacePackage[],
): PackedManifest & { bundleDependencies: string[] } {
  const dependencies = new Map<string, string>();
  const own = new Map(bundled.map(({ manifest }) => [manifest.name, manifest.version]));
  for (const manifest of [sdk, ...bundled.map((each) => each.manifest)]) {
    for (const [name, version] of Object.entries(manifest.dependencies ?? {})) {
      if (name === sdk.name) continue;
      const other = own.get(name) ?? dependencies.get(name) ?? version;
      if (other !== version)
        throw new Error(
          `${manifest.name} depends on ${name} ${version}, others on ${other}: name one version`,
        );
      dependencies.set(name, version);
    }
  }
  for (const [name, version] of own) dependencies.set(name, version);
  const bin = Object.fromEntries(
    bundled.flatMap(({ manifest }) =>
      Object.entries(manifest.bin ?? {}).map(([command, file]) => [
        command,
        `./node_modules/${manifest.name}/${file.replace(/^\.\//, "")}`,
      ]),
    ),
  );
  return {
    ...bundledManifest(sdk),
    bin,
    dependencies: Object.fromEntries([...dependencies].sort(([a], [b]) => (a < b ? -1 : 1))),
    bundleDependencies: [...own.keys()].sort(),
  };
}

/** `./index.ts` is packed as `./index.js`, with `./index.d.ts` for its types. */
function packedExports(entries: Record<string, string>): PackedManifest["exports"] {
  return Object.fromEntries(
    Object.entries(entries).map(([subpath, source]) => {
      const name = source.replace(/\.ts$/, "");
      return [subpath, { types: `${name}.d.ts`, default: `${name}.js` }];
    }),
  );
}
