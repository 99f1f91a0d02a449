import { type Config, ConfigError, type Listener } from "@millrace/service";
import { checkHealth } from "./checks/health.ts";
import { examineListener } from "./examine-listener.ts";
import { selfMadeOf } from "./examine-proxy.ts";
import { type Finding, failure, type Section, skipped } from "./finding.ts";
import type { Wishes } from "./outside.ts";
import { configOf, type OurEdge, wantedConfig } from "./running.ts";

/** An edge where it really listens, beside what is wanted of it. @param report told of each section as it is done */
export async function examineEdge(
  edge: OurEdge,
  wishes: Wishes,
  report: (section: Section) => Promise<void>,
): Promise<void> {
  const about = `edge ${edge.number}`;
  let runs: Config;
  let wanted: Config;
  try {
    runs = await configOf(edge);
    wanted = await wantedConfig(edge);
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    const findings = error.problems.map((problem) =>
      failure("configuration", problem, "Correct it: this edge could not be started with it again."),
    );
    return report({ about, findings });
  }
  await report({
    about,
    findings: [...hidden(edge), ...(await healthOf(wanted, runs.health, wishes.timeout))],
  });
  for (const listener of runs.listeners) {
    const selfMade = isProxys(listener, runs) ? selfMadeOf(runs) : undefined;
    await report(await examineListener(wanted, listener, { ...wishes, selfMade }));
  }
}

/** Whether it shows the certificate of the proxy before it. */
function isProxys({ certificate }: Listener, { proxy }: Config): boolean {
  return proxy !== undefined && certificate?.cert === proxy.certificate.cert;
}

function hidden({ environment }: OurEdge): Finding[] {
  if (environment) return [];
  return [
    skipped(
      "environment",
      "this user may not see with which environment the edge was started: its ports are taken from the configuration here",
      "Run the doctor as the edge's user, or as root.",
    ),
  ];
}

async function healthOf({ settings }: Config, health: Config["health"], timeout: number): Promise<Finding[]> {
  if (!health)
    return [
      skipped(
        "ready",
        "HEALTH_PORT is not set",
        "Set HEALTH_PORT, so that a balancer can ask whether the edge is ready.",
      ),
    ];
  if (health.port === 0)
    return [
      skipped(
        "ready",
        "HEALTH_PORT=0 is any free port",
        "Set it to one of your choice; until then the edge's log line `ready` has it.",
      ),
    ];
  return checkHealth(health, settings.SMTP_MAX_CLIENTS, timeout);
}
