import { type Command, InvalidArgumentError, Option } from "commander";
import { type Checker, check } from "../checker.ts";
import { printOrWrite } from "../printed-file.ts";
import { domainName, path } from "../proxy/option-values.ts";
import { edgeHook, type HookPlan, haproxyHook, nginxHook } from "./hooks.ts";

export const hooks = { haproxy: haproxyHook, nginx: nginxHook, edge: edgeHook };
type Reader = keyof typeof hooks;

/** Reads scripts without running them. */
export const shellChecker = (file: string): Checker => ({
  program: "sh",
  words: (folder) => ["-n", `${folder}/${file}`],
  cure: "install a POSIX shell",
});

interface Options {
  hostname: string;
  cert?: string;
  socket: string;
  group: string;
  check?: boolean;
  out?: string;
}

export function addCertbotHookCommand(program: Command): void {
  program
    .command("certbot-hook")
    .description(
      "print certbot's deploy hook: it puts a renewed certificate where proxy or edges read it, at once",
    )
    .argument("<haproxy|nginx|edge>", "who reads the certificate", reader)
    .addOption(
      new Option(
        "--hostname <name>",
        "certbot's name of the certificate: its folder in /etc/letsencrypt/live",
      )
        .argParser(domainName)
        .makeOptionMandatory(),
    )
    .addOption(
      new Option(
        "--cert <path>",
        "HAProxy's PEM file, or the edges' folder (default: /etc/haproxy/certs/<hostname>.pem, /etc/millrace/tls/<hostname>)",
      ).argParser(path),
    )
    .addOption(
      new Option("--socket <path>", "HAProxy's stats socket")
        .argParser(path)
        .default("/run/haproxy/admin.sock"),
    )
    .addOption(new Option("--group <name>", "group of the edges").argParser(groupName).default("millrace"))
    .option("--check", "ask sh whether it takes the script; if not, nothing is printed")
    .option("--out <file>", "write it there, as a program")
    .action(async (who: Reader, { hostname, cert, socket, group, check: checked, out }: Options) => {
      const usual =
        who === "haproxy" ? `/etc/haproxy/certs/${hostname}.pem` : `/etc/millrace/tls/${hostname}`;
      const plan: HookPlan = { hostname, target: cert ?? usual, socket, group };
      const text = hooks[who](plan);
      if (checked) check({ hook: text }, shellChecker("hook"));
      await printOrWrite(text, out, 0o755);
    });
}

function reader(text: string): Reader {
  if (!Object.hasOwn(hooks, text))
    throw new InvalidArgumentError(`give one of ${Object.keys(hooks).join(", ")}.`);
  return text as Reader;
}

function groupName(text: string): string {
  if (!/^[a-z_][a-z\d_-]{0,30}$/.test(text))
    throw new InvalidArgumentError("give a group name of small letters, digits, _ and -.");
  return text;
}
