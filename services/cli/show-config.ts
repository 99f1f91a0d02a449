import { loadConfig, openRelays, printableConfig } from "@millrace/service";
import type { Command } from "commander";
import { stringify } from "yaml";
import { print, printJson } from "./terminal.ts";

export function addConfigCommand(program: Command): void {
  program
    .command("config")
    .description("the resolved configuration: defaults, environment and file in one, secrets masked")
    .option("--json", "as JSON")
    .action(async (options: { json?: boolean }) => {
      const config = await loadConfig();
      const printable = printableConfig(config);
      if (options.json) await printJson(printable);
      else await print(stringify(printable));
      for (const line of openRelays(config)) process.stderr.write(`millrace: warning: ${line}\n`);
    });
}
