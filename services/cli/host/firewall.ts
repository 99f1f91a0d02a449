import { isIP } from "node:net";
import { type Command, InvalidArgumentError } from "commander";
import { type Checker, check } from "../checker.ts";
import { printOrWrite } from "../printed-file.ts";
import { port } from "../proxy/option-values.ts";
import { CommandError } from "../terminal.ts";
import { shellChecker } from "./certbot-hook.ts";
import { type FirewallPlan, firewalld, iptables, nftables, ufw } from "./firewall-rules.ts";

interface Firewall {
  rules: (plan: FirewallPlan) => string;
  about: string;
  checker: Checker;
  mode: number;
}

/** What a script tells a firewall to do, sh cannot judge: its check is of the script alone. */
const script = { checker: shellChecker("rules"), mode: 0o755 };

export const firewalls: Record<string, Firewall> = {
  nftables: {
    rules: nftables,
    about: "a file for nft -f",
    checker: {
      program: "nft",
      words: (folder) => ["-c", "-f", `${folder}/rules`],
      cure: "apt-get install nftables",
    },
    mode: 0o644,
  },
  iptables: { rules: iptables, about: "a script for iptables and ip6tables", ...script },
  ufw: { rules: ufw, about: "a script of ufw commands", ...script },
  firewalld: { rules: firewalld, about: "a script of firewall-cmd commands", ...script },
};

interface Options {
  open?: number[];
  edgePort?: number[];
  from?: string[];
  check?: boolean;
  out?: string;
}

/** The most that one rule of iptables takes. */
const mostPorts = 15;

export function addFirewallCommand(program: Command): void {
  const command = program
    .command("firewall")
    .description(
      "print firewall rules: mail ports for everybody, ports of the edges for their proxies alone",
    );
  for (const [name, { rules, about, checker, mode }] of Object.entries(firewalls)) {
    command
      .command(name)
      .description(about)
      .option("--open <port>", "a port for everybody; again for each one (default: 465 and 587)", ports)
      .option(
        "--edge-port <port>",
        "a port of an edge, or of its health; again for each one (default: 2525 and 9525)",
        ports,
      )
      .option(
        "--from <address>",
        "address or network of a proxy on another machine; again for each one (default: none)",
        networks,
      )
      .option(
        "--check",
        `ask ${checker.program} whether it takes what is printed; if not, nothing is printed`,
      )
      .option("--out <file>", "write it there")
      .action(async ({ open, edgePort, from, check: checked, out }: Options) => {
        const plan = { open: open ?? [465, 587], inner: edgePort ?? [2525, 9525], from: from ?? [] };
        refuseBoth(plan);
        const text = rules(plan);
        if (checked) check({ rules: text }, checker);
        await printOrWrite(text, out, mode);
      });
  }
}

function refuseBoth({ open, inner }: FirewallPlan): void {
  const both = inner.find((each) => open.includes(each));
  if (both !== undefined)
    throw new CommandError(
      `--edge-port ${both} is open to everybody by --open ${both}: give edges behind a proxy ports of their own`,
      2,
    );
}

function ports(text: string, before: number[] = []): number[] {
  if (before.length === mostPorts) throw new InvalidArgumentError(`give ${mostPorts} ports at most.`);
  return [...before, port(text)];
}

function networks(text: string, before: string[] = []): string[] {
  const [address = "", bits, ...more] = text.split("/");
  const family = isIP(address);
  const fits = bits === undefined || (/^\d{1,3}$/.test(bits) && Number(bits) <= (family === 4 ? 32 : 128));
  if (family === 0 || address.includes("%") || !fits || more.length > 0)
    throw new InvalidArgumentError("give an address or a network, such as 10.0.0.4 or 2001:db8::/64.");
  return [...before, text];
}
