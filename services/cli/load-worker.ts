import { existsSync, readFileSync } from "node:fs";
import { findPackageJSON } from "node:module";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import type { WorkerDefinition } from "@millrace/pipeline";
import { StartError } from "@millrace/service";

/**
 * The worker a file has as its default export.
 * @throws StartError when there is no such file, or no worker in it; whatever the file throws when it is loaded
 */
export async function loadWorker(path: string): Promise<WorkerDefinition> {
  const file = resolve(path);
  if (!existsSync(file)) throw new StartError(`${path}: there is no such file`);
  const module = (await import(pathToFileURL(file).href)) as { default?: Partial<WorkerDefinition> };
  const worker = module.default;
  if (!worker?.name || !worker.handle || !worker.on) {
    throw new StartError(
      `${path} has no worker as its default export: write \`export default defineWorker({ … })\``,
    );
  }
  return { ...worker, version: worker.version ?? versionOf(file) } as WorkerDefinition;
}

/** The version of the package a worker is in, if it has one. */
function versionOf(file: string): string | undefined {
  const found = findPackageJSON(pathToFileURL(file));
  if (!found) return undefined;
  try {
    const { version } = JSON.parse(readFileSync(found, "utf8")) as { version?: unknown };
    return typeof version === "string" ? version : undefined;
  } catch {
    return undefined;
  }
}
