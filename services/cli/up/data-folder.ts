import { linkSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { StartError } from "@millrace/service";

/**
 * Makes sure that one `millrace up` at a time uses a data folder: two would run two Redis on the same files.
 * Returns a function that lets go of it.
 * @throws StartError that names the process which has it
 */
export function holdDataFolder(folder: string): () => void {
  const file = join(folder, "up.pid");
  const draft = `${file}.${process.pid}`;
  for (;;) {
    // Linked when it is written: whoever finds the file finds a number in it, unless a power cut took that away.
    writeFileSync(draft, `${process.pid}\n`);
    try {
      linkSync(draft, file);
      return () => rmSync(file, { force: true });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
    } finally {
      rmSync(draft, { force: true });
    }
    const holder = holderOf(file);
    if (holder !== undefined && holder !== process.pid && isMillrace(holder)) {
      throw new StartError(
        `MILLRACE_DATA_DIR=${folder} is in use by another \`millrace up\` (pid ${holder}): stop that one, or choose another folder`,
      );
    }
    // Left behind by one that was killed.
    rmSync(file, { force: true });
  }
}

/** The number in the file; undefined when there is none: the file is gone, or its machine lost power over it. */
function holderOf(file: string): number | undefined {
  try {
    const text = readFileSync(file, "utf8").trim();
    return /^[1-9]\d*$/.test(text) ? Number(text) : undefined;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}

/** Whether a process is there and is one of ours: after a restart of the machine its number may be anybody's. */
function isMillrace(pid: number): boolean {
  try {
    process.kill(pid, 0);
  } catch {
    return false;
  }
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8").includes("millrace");
  } catch {
    // No /proc on this system: better to refuse once too often than to run twice.
    return true;
  }
}
