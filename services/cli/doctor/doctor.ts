import { readFileSync } from "node:fs";
import { isIP } from "node:net";
import { type Command, InvalidArgumentError, Option } from "commander";
import { CommandError, print, printJson } from "../terminal.ts";
import { type Section, statuses } from "./finding.ts";
import { examineInstallation } from "./installation.ts";
import { examineHost, type Wishes } from "./outside.ts";
import { sectionText, summary } from "./print-section.ts";
import type { ExpectedTls } from "./smtp/endpoint.ts";
import { parseTarget } from "./target.ts";

interface DoctorOptions {
  tls?: ExpectedTls;
  timeout: number;
  servername?: string;
  ca?: string;
  source?: string;
  json?: boolean;
}

export function addDoctorCommand(program: Command): void {
  program
    .command("doctor")
    .description(
      "examine what runs, and say of everything that is wrong what mends it: this installation or, as one of its clients, a host",
    )
    .argument("[host[:port]]", "a host to examine from outside; without a port: 25, 465, 587 and 2525")
    .addOption(
      new Option(
        "--tls <mode>",
        "what to expect (default: implicit on 465, starttls on 587 and 25, else as it comes)",
      ).choices(["implicit", "starttls", "off"]),
    )
    .option("--timeout <seconds>", "for each step", seconds, 5)
    .option(
      "--servername <name>",
      "name the certificate should have (default: the host, or the configured hostname)",
    )
    .option("--ca <file>", "trust these authorities too, a PEM file")
    .option("--source <address>", "connect from this address of ours")
    .option("--json", "as JSON")
    .addHelpText(
      "after",
      "\nNo mail is sent: recipients are tried with RCPT and taken back. Status: 0, or 1 when something has failed.",
    )
    .action(doctor);
}

async function doctor(target: string | undefined, options: DoctorOptions): Promise<void> {
  const wishes: Wishes = {
    timeout: options.timeout * 1_000,
    tls: options.tls,
    serverName: options.servername,
    authorities: options.ca === undefined ? [] : authoritiesIn(options.ca),
    source: options.source,
  };
  if (options.source !== undefined && !isIP(options.source))
    throw new CommandError(`--source ${options.source} is no IP address: give one of this machine`, 2);
  if (target === undefined && (options.tls || options.source))
    throw new CommandError(
      `${options.tls ? "--tls" : "--source"} is for a host: this installation's configuration says how to reach it`,
      2,
    );
  const sections: Section[] = [];
  const report = async (section: Section) => {
    sections.push(section);
    if (!options.json) await print(sectionText(section));
  };
  if (target === undefined) await examineInstallation(wishes, report);
  else await examineHost(parseTarget(target), wishes, report);
  const findings = sections.flatMap((section) => section.findings);
  const counts = Object.fromEntries(
    statuses.map((status) => [status, findings.filter((finding) => finding.status === status).length]),
  );
  if (options.json) await printJson({ target: target ?? null, counts, sections });
  else await print(summary(sections));
  if (counts.failure) process.exitCode = 1;
}

function seconds(text: string): number {
  if (!/^\d+(\.\d+)?$/.test(text) || Number(text) < 0.1 || Number(text) > 300)
    throw new InvalidArgumentError("give seconds, from 0.1 to 300.");
  return Number(text);
}

/** @throws CommandError when it cannot be read, or has no certificate */
function authoritiesIn(file: string): string[] {
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch (error) {
    throw new CommandError(`--ca ${file}: ${(error as Error).message}`, 2);
  }
  const pems = text.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g);
  if (!pems) throw new CommandError(`--ca ${file}: there is no certificate in it; give a PEM file`, 2);
  return pems;
}
