import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { childEnvironment } from "@millrace/service";
import { CommandError } from "./terminal.ts";

/** A program that knows whether a file is right. */
export interface Checker {
  program: string;
  /** What it is called with. @param folder that holds the files, under their names */
  words: (folder: string) => string[];
  /** How one gets it. */
  cure: string;
  /** What it must have, as a sentence, where one without it is common. */
  needs?: string;
}

/**
 * Runs the checkers on files that nobody uses yet, and tells on standard error what they said.
 *
 * @param files by their names
 * @throws CommandError when one is not installed (69), or finds fault (1)
 */
export function check(files: Readonly<Record<string, string>>, ...checkers: readonly Checker[]): void {
  const folder = mkdtempSync(join(tmpdir(), "millrace-check-"));
  try {
    for (const [name, text] of Object.entries(files)) {
      mkdirSync(dirname(join(folder, name)), { recursive: true });
      writeFileSync(join(folder, name), text, { mode: 0o600 });
    }
    for (const checker of checkers) run(checker, folder);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function run({ program, words, cure, needs }: Checker, folder: string): void {
  const env = childEnvironment();
  // Debian keeps servers where only root looks.
  env.PATH = `${env.PATH ?? ""}:/usr/sbin:/sbin`;
  const all = words(folder);
  const { status, signal, error, stdout, stderr } = spawnSync(program, all, { env, encoding: "utf8" });
  if ((error as NodeJS.ErrnoException | undefined)?.code === "ENOENT")
    throw new CommandError(`--check: ${program} is not installed here: ${cure}, or leave --check out`, 69);
  const said = `${stdout ?? ""}${stderr ?? ""}`.trim() || (status === 0 ? "no complaint" : "nothing");
  process.stderr.write(`${program} ${all.join(" ")}: ${said}\n`.replaceAll(`${folder}/`, ""));
  if (status !== 0)
    throw new CommandError(
      `--check: ${program} finds fault${status === null ? ` (${signal ?? error?.message})` : ` (status ${status})`}; what it says is above${needs === undefined ? "" : `. ${needs}: ${cure}`}`,
    );
}
