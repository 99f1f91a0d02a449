import { existsSync, globSync, readFileSync } from "node:fs";
import { join, relative, resolve } from "node:path";
import { z } from "zod";
import { CommandError } from "../terminal.ts";

const packageSchema = z.object({ main: z.string().optional() });

/**
 * The files of the workers to run, absolute: those that were named; else the package's `main`, else `worker.ts`, else
 * the only `*.worker.ts`, of the folder.
 * @throws CommandError that says which there are
 */
export function workerFiles(named: readonly string[], folder: string): string[] {
  if (named.length > 0) {
    const missing = named.find((name) => !existsSync(resolve(folder, name)));
    if (missing !== undefined) throw new CommandError(`${missing}: there is no such file`, 2);
    return [...new Set(named.map((name) => resolve(folder, name)))];
  }
  for (const name of [mainOf(folder), "worker.ts", "worker.js"]) {
    if (name !== undefined && existsSync(join(folder, name))) return [resolve(folder, name)];
  }
  const found = globSync("{*,src/*,workers/*}.worker.{ts,js}", { cwd: folder }).sort();
  if (found.length === 1) return [resolve(folder, found[0] as string)];
  const there = found.length > 1 ? `: ${found.join(", ")}` : "";
  throw new CommandError(
    found.length > 1
      ? `there is more than one worker here${there}; name those to run, such as \`millrace dev ${found[0]}\``
      : "there is no worker here: name its file, `millrace dev ./my-worker.ts`, or make one with `millrace new worker invoices`",
    2,
  );
}

function mainOf(folder: string): string | undefined {
  const file = join(folder, "package.json");
  if (!existsSync(file)) return undefined;
  try {
    return packageSchema.parse(JSON.parse(readFileSync(file, "utf8"))).main;
  } catch (error) {
    throw new CommandError(`package.json cannot be read: ${(error as Error).message.split("\n")[0]}`, 2);
  }
}

/** A file as people name it: from the working folder, where it is in there. */
export function shownPath(file: string): string {
  const fromHere = relative(process.cwd(), file);
  return fromHere.startsWith("..") ? file : fromHere;
}
