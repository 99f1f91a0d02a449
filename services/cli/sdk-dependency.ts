import { execFile } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { dirname, join, relative, resolve, sep } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { CommandError } from "./terminal.ts";

/** The one package that a folder with workers of its own depends on. */
export const sdkName = "@millrace/pipeline";

/**
 * What a package.json in `folder` writes behind {@link sdkName} to get the very Millrace that runs now: in a workspace
 * `file:` and the tarball in its `dist`, packed here and now when a source is newer; in an installation what that was
 * made from, a tarball or a version. Paths are relative to the folder, and with `/`.
 *
 * @param sdk folder of the SDK that runs now
 * @throws CommandError when the tarball cannot be packed, or is gone
 */
export async function sdkDependency(
  folder: string,
  sdk: string = dirname(fileURLToPath(import.meta.resolve(sdkName))),
): Promise<string> {
  const at = sdk.lastIndexOf(`${sep}node_modules${sep}`);
  const tarball = at === -1 ? await packedTarball(resolve(sdk, "../..")) : installedTarball(sdk.slice(0, at));
  if (tarball) return `file:${relative(resolve(folder), tarball).split(sep).join("/")}`;
  const { version } = JSON.parse(readFileSync(join(sdk, "package.json"), "utf8")) as { version: string };
  return version;
}

async function packedTarball(workspace: string): Promise<string> {
  const program = join(workspace, "services/cli/pack/main.ts");
  try {
    return (await promisify(execFile)(process.execPath, [program, "--if-needed"])).stdout.trim();
  } catch (error) {
    const { stderr, message } = error as Error & { stderr?: string };
    throw new CommandError(`the SDK could not be packed: ${stderr?.trim() || message}`);
  }
}

/**
 * The tarball that an installation was made from; undefined when it came from a registry.
 *
 * @param folder that has the node_modules which the SDK is in
 */
function installedTarball(folder: string): string | undefined {
  // npm's own record. Other package managers have none like it; with them it is the version that counts.
  const record = join(folder, "node_modules/.package-lock.json");
  if (!existsSync(record)) return undefined;
  const { packages } = JSON.parse(readFileSync(record, "utf8")) as {
    packages: Record<string, { resolved?: string }>;
  };
  const resolved = packages[`node_modules/${sdkName}`]?.resolved;
  if (!resolved?.startsWith("file:")) return undefined;
  const tarball = resolve(folder, resolved.slice("file:".length));
  if (existsSync(tarball)) return tarball;
  throw new CommandError(`${tarball}, which Millrace was installed from in ${folder}, is gone: put it back`);
}
