import { mkdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { type Command, InvalidArgumentError, Option } from "commander";
import { type Checker, check } from "../checker.ts";
import { wholeNumber } from "../numbers.ts";
import { printOrWrite } from "../printed-file.ts";
import { path } from "../proxy/option-values.ts";
import { CommandError, print } from "../terminal.ts";
import { systemdFiles } from "./systemd-units.ts";

/** Reads units as systemd does; it wants them under names that an instance has. */
export const systemdChecker: Checker = {
  program: "systemd-analyze",
  words: (folder) => [
    "verify",
    ...["edge@1", "worker@parse"].map((name) => `${folder}/millrace-${name}.service`),
  ],
  cure: "it comes with systemd",
};

interface Options {
  folder: string;
  user: string;
  drain: number;
  check?: boolean;
  out?: string;
}

export function addSystemdCommand(program: Command): void {
  program
    .command("systemd")
    .description(
      "print hardened systemd units for edges and workers, their user and settings, and a sysctl file",
    )
    .addOption(
      new Option("--folder <folder>", "where Millrace is installed: node_modules and configuration")
        .argParser(installFolder)
        .default("/opt/millrace"),
    )
    .addOption(new Option("--user <name>", "system user they run as").argParser(userName).default("millrace"))
    .addOption(
      new Option("--drain <seconds>", "SMTP_DRAIN_SECONDS of the edges: what their balancer needs to notice")
        .argParser(wholeNumber)
        .default(15),
    )
    .option("--check", "ask systemd-analyze whether it takes the units; if not, nothing is printed")
    .option("--out <folder>", "write the files there, each under its path in /etc")
    .action(systemd);
}

async function systemd({ folder, user, drain, check: checked, out }: Options): Promise<void> {
  const files = systemdFiles({ folder, user, drainSeconds: drain });
  if (checked) check(asInstances(files), systemdChecker);
  for (const [file, text] of Object.entries(files)) {
    if (out === undefined) await print(`# ---- /etc/${file}\n${text}\n`);
    else {
      const target = join(out, file);
      try {
        mkdirSync(dirname(target), { recursive: true });
      } catch (error) {
        throw new CommandError(`--out ${out} cannot be written: ${(error as Error).message}`);
      }
      await printOrWrite(text, target, file.endsWith(".env") ? 0o640 : 0o644);
    }
  }
}

/** The units under names without folders, as verify wants them. */
function asInstances(files: Record<string, string>): Record<string, string> {
  return {
    "millrace-edge@1.service": files["systemd/system/millrace-edge@.service"] ?? "",
    "millrace-worker@parse.service": files["systemd/system/millrace-worker@.service"] ?? "",
  };
}

function installFolder(text: string): string {
  const folder = path(text);
  if (/^\/(home|root|run\/user|tmp|var\/tmp)(\/|$)/.test(folder))
    throw new InvalidArgumentError(
      "the units are shut out from home folders and temporary ones: install it elsewhere, such as /opt/millrace.",
    );
  return folder;
}

function userName(text: string): string {
  if (!/^[a-z_][a-z\d_-]{0,30}$/.test(text))
    throw new InvalidArgumentError("give a user name of small letters, digits, _ and -.");
  return text;
}
