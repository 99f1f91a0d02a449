import { type Config, maskSecrets, proxiedListeners } from "@millrace/service";
import { colour, duration } from "../terminal.ts";
import type { LocalPipeline } from "./local-pipeline.ts";

const forProxyAlone: readonly string[] = Object.values(proxiedListeners);

const row = (name: string, value: string) => `${colour.dim(name.padEnd(10))}${value}\n`;

/** What an operator wants to know when all is at work. */
export function welcome(
  config: Config,
  { processes, redis, proxy }: LocalPipeline,
  ready: readonly Record<string, unknown>[],
  took: number,
): string {
  const edges = processes.flatMap(({ name }, i) =>
    name.startsWith("edge") ? [ready[i] as Record<string, unknown>] : [],
  );
  const addresses = edges.flatMap(({ listening }) =>
    (listening as { name: string; host: string; port: number }[])
      .filter(({ name }) => !forProxyAlone.includes(name))
      .map(({ host, port }) => `${host}:${port}`),
  );
  const routes = config.routes.map((route) => {
    const targets = route.to.map((target) => Object.entries(target)[0]?.join(" ") ?? "");
    return `  ${route.recipients.join(", ")} → ${maskSecrets(targets.join(", "))}`;
  });
  return [
    `${colour.green("ready")} in ${duration(took)}\n`,
    ...proxyRows(config, proxy()?.pid()),
    row("smtp", addresses.join(", ")),
    ...(config.health
      ? [row("health", edges.map((edge) => `http://${config.health?.host}:${edge.health}`).join(", "))]
      : []),
    row(
      "redis",
      redis ? `our own, ${config.paths.redis} (pid ${redis.pid})` : String(maskSecrets(config.redisUrl)),
    ),
    row("mail", config.paths.mail),
    row("routes", config.file ?? "no configuration file: every recipient has a Maildir"),
    ...routes.map((route) => `${route}\n`),
    `\n${colour.dim("try")}\n`,
    "  npx millrace send --to you@example.com\n",
    "  npx millrace messages list\n",
    "  npx millrace status\n",
    `\n${colour.dim("Ctrl-C stops all of it.")}\n`,
  ].join("");
}

function proxyRows({ proxy }: Config, pid: number | undefined): string[] {
  if (!proxy) return [];
  const { kind, host, smtpsPort, starttlsPort, certificate, selfMade, folder } = proxy;
  return [
    row("smtps", `${host}:${smtpsPort}, TLS from the first octet on`),
    row("starttls", `${host}:${starttlsPort}`),
    row("proxy", `${kind}, ${folder} (pid ${pid})`),
    row(
      "cert",
      selfMade
        ? `${certificate.cert}, self-made: no client trusts it; give your own with --cert`
        : certificate.cert,
    ),
  ];
}
