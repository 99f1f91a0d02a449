import { chmodSync, mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { CommandError, print } from "./terminal.ts";

/** Prints a file that was made, or puts it where `--out` says: the whole of it, or nothing. */
export async function printOrWrite(text: string, out: string | undefined, mode = 0o644): Promise<void> {
  if (out === undefined) return print(text);
  const target = resolve(out);
  let folder: string | undefined;
  try {
    // Beside it, so that it can be moved there in one step: whoever reads it meanwhile reads the one before.
    folder = mkdtempSync(join(dirname(target), ".millrace-"));
    const file = join(folder, "file");
    writeFileSync(file, text);
    chmodSync(file, mode);
    renameSync(file, target);
  } catch (error) {
    throw new CommandError(`--out ${out} cannot be written: ${(error as Error).message}`);
  } finally {
    if (folder) rmSync(folder, { recursive: true, force: true });
  }
}
