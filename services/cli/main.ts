import { ConfigError, exitStatus, StartError } from "@millrace/service";
import { Command } from "commander";
import { addAuditCommand } from "./audit.ts";
import { addDeadLettersCommand } from "./dead-letters/dead-letters.ts";
import { addDevCommand } from "./dev/dev.ts";
import { addDoctorCommand } from "./doctor/doctor.ts";
import { addEraseCommand } from "./erase/erase.ts";
import { addCertbotHookCommand } from "./host/certbot-hook.ts";
import { addFirewallCommand } from "./host/firewall.ts";
import { addSystemdCommand } from "./host/systemd.ts";
import { addMessagesCommand } from "./messages.ts";
import { addNewCommand } from "./new/new.ts";
import { addProxyCommand } from "./proxy/proxy.ts";
import { addQuarantineCommand } from "./quarantine/quarantine.ts";
import { addReplayCommand } from "./replay/replay.ts";
import { addRetainCommand } from "./retain.ts";
import { addEdgeCommand, addWorkerCommand } from "./run-worker.ts";
import { addSendCommand } from "./send/send.ts";
import { addConfigCommand } from "./show-config.ts";
import { addStatusCommand } from "./status.ts";
import { CommandError } from "./terminal.ts";
import { addTraceCommand } from "./trace.ts";
import { addUpCommand } from "./up/up.ts";
import { addUserCommand } from "./user/user.ts";
import { addWorkersCommand } from "./workers/workers.ts";

const program = new Command("millrace")
  .description("A mail ingestion pipeline: SMTP in, Redis and BullMQ between, workers of your own behind.")
  .showHelpAfterError("(--help shows what there is)")
  .configureHelp({ sortSubcommands: false });
addUpCommand(program);
addNewCommand(program);
addDevCommand(program);
addEdgeCommand(program);
addWorkerCommand(program);
addWorkersCommand(program);
addSendCommand(program);
addMessagesCommand(program);
addTraceCommand(program);
addStatusCommand(program);
addAuditCommand(program);
addDeadLettersCommand(program);
addReplayCommand(program);
addQuarantineCommand(program);
addUserCommand(program);
addRetainCommand(program);
addEraseCommand(program);
addConfigCommand(program);
addProxyCommand(program);
addSystemdCommand(program);
addCertbotHookCommand(program);
addFirewallCommand(program);
addDoctorCommand(program);

// `millrace messages list | head` closes our output early; that is its right, not an error.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  process.exit(error.code === "EPIPE" ? 0 : 1);
});

try {
  await program.parseAsync();
} catch (error) {
  if (error instanceof ConfigError) {
    for (const problem of error.problems) process.stderr.write(`millrace: ${problem}\n`);
    process.exitCode = exitStatus.config;
  } else if (error instanceof StartError || error instanceof CommandError) {
    process.stderr.write(`millrace: ${error.message}\n`);
    process.exitCode = error instanceof CommandError ? error.status : exitStatus.unavailable;
  } else throw error;
}
