import type { Command } from "commander";
import { type Checker, check } from "../checker.ts";
import { printOrWrite } from "../printed-file.ts";
import { caddyFile } from "./caddy.ts";
import { haproxyFile } from "./haproxy.ts";
import { nginxFile } from "./nginx.ts";
import { nginxMailFile } from "./nginx-mail.ts";
import { type Abilities, addOptions, type ProxyOptions, planOf } from "./options.ts";
import type { ProxyPlan } from "./plan.ts";

interface Proxy {
  about: string;
  file: (plan: ProxyPlan) => string;
  fileName: string;
  checker: Checker;
  abilities: Abilities;
}

const nginxChecker: Checker = {
  program: "nginx",
  // Without -e it first opens the log of the machine's own nginx.
  words: (folder) => ["-t", "-e", "stderr", "-c", `${folder}/nginx.conf`],
  cure: "apt-get install nginx libnginx-mod-stream libnginx-mod-mail",
};

/** Each of them by its name in the command. */
export const proxies: Record<"haproxy" | "nginx" | "nginx-mail" | "caddy", Proxy> = {
  haproxy: {
    about: "HAProxy: ends TLS, passes STARTTLS on; asks edges how they are",
    file: haproxyFile,
    fileName: "haproxy.cfg",
    checker: {
      program: "haproxy",
      words: (folder) => ["-c", "-f", `${folder}/haproxy.cfg`],
      cure: "apt-get install haproxy",
    },
    abilities: {
      passesOnStarttls: true,
      migrates: true,
      limitsPerIp: true,
      limitsRate: true,
      separateKey: false,
    },
  },
  nginx: {
    about: "nginx with its stream module: ends TLS, passes STARTTLS on",
    file: nginxFile,
    fileName: "nginx.conf",
    checker: nginxChecker,
    abilities: {
      passesOnStarttls: true,
      migrates: true,
      limitsPerIp: true,
      limitsRate: false,
      separateKey: true,
    },
  },
  "nginx-mail": {
    about: "nginx with its stream and mail modules: ends TLS and STARTTLS",
    file: nginxMailFile,
    fileName: "nginx.conf",
    checker: nginxChecker,
    abilities: {
      passesOnStarttls: false,
      migrates: true,
      limitsPerIp: true,
      limitsRate: false,
      separateKey: true,
    },
  },
  caddy: {
    about: "Caddy with caddy-l4: obtains its certificate itself, ends TLS, passes STARTTLS on",
    file: caddyFile,
    fileName: "Caddyfile",
    checker: {
      program: "caddy",
      words: (folder) => ["validate", "--adapter", "caddyfile", "--config", `${folder}/Caddyfile`],
      cure: "xcaddy build --with github.com/mholt/caddy-l4@v0.1.2, and put it into your PATH",
      needs: "It must have caddy-l4",
    },
    abilities: {
      passesOnStarttls: true,
      migrates: true,
      limitsPerIp: false,
      limitsRate: false,
      separateKey: true,
    },
  },
};

export function addProxyCommand(program: Command): void {
  const command = program
    .command("proxy")
    .description("print the configuration of a proxy that stands before the edges");
  for (const [name, { about, file, fileName, checker, abilities }] of Object.entries(proxies)) {
    addOptions(command.command(name).description(about), abilities, name)
      .option(
        "--check",
        `ask ${checker.program} itself whether it takes the file; if not, nothing is printed`,
      )
      .option("--out <file>", "write it there")
      .action(async (options: ProxyOptions) => {
        const text = file(planOf(options));
        if (options.check) check({ [fileName]: text }, checker);
        await printOrWrite(text, options.out);
      });
  }
}
