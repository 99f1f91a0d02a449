import { type Config, ConfigError, loadConfig } from "@millrace/service";
import { checkDisks } from "./checks/disk.ts";
import { checkDescriptors, checkProcesses } from "./checks/processes.ts";
import { checkRedis } from "./checks/redis.ts";
import { examineEdge } from "./examine-edge.ts";
import { examineProxy } from "./examine-proxy.ts";
import { failure, ok, type Section } from "./finding.ts";
import type { Wishes } from "./outside.ts";
import { ourProcesses, supervisorOf } from "./processes.ts";
import { configOf, type OurEdge, ourEdges, wantedConfig } from "./running.ts";

/** Examines what runs of this folder's installation. @param report told of each section as it is done */
export async function examineInstallation(
  wishes: Wishes,
  report: (section: Section) => Promise<void>,
): Promise<void> {
  let runs: Config;
  let wanted: Config;
  let found: ReturnType<typeof findOurs>;
  try {
    found = findOurs(await loadConfig());
    // It may run with settings that are not set here: --proxy, a unit's EnvironmentFile.
    [runs, wanted] = [await configOf(found.edges[0]), await wantedConfig(found.edges[0])];
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    const findings = error.problems.map((problem) =>
      failure("configuration", problem, "Correct it: nothing starts with it."),
    );
    return report({ about: "configuration", findings });
  }
  const { processes, supervisor, edges } = found;
  await report({
    about: "this machine",
    findings: [
      ok("configuration", wanted.file ?? "no file: defaults and the environment"),
      checkProcesses(processes, supervisor, supervisor && runs.proxy?.kind),
      ...checkDescriptors(processes, wanted),
      ...(await checkDisks(wanted)),
    ],
  });
  await report({ about: "redis", findings: await checkRedis(wanted, wishes.timeout) });
  if (runs.proxy) await examineProxy(runs.proxy, { runs, wanted }, wishes, report);
  for (const edge of edges) await examineEdge(edge, wishes, report);
}

function findOurs(config: Config) {
  const supervisor = supervisorOf(config);
  const processes = ourProcesses(config, supervisor);
  const edges = ourEdges(config, processes ?? [], supervisor) as [OurEdge, ...OurEdge[]];
  return { supervisor, processes, edges };
}
