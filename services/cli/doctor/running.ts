import { type Config, childEnvironment, loadConfig } from "@millrace/service";
import type { OurProcess, Supervisor } from "./processes.ts";

/** An edge that runs, or that should. */
export interface OurEdge {
  /** Its EDGE_NUMBER. */
  number: number;
  isRunning: boolean;
  /** What it was started with, or would be; undefined when that may not be read. */
  environment: Record<string, string> | undefined;
  /** Its working folder. */
  folder: string;
}

/** Those that run, and those that `up` should be running; where there are none, the one the configuration is for. */
export function ourEdges(
  config: Config,
  processes: readonly OurProcess[],
  supervisor: Supervisor | undefined,
): OurEdge[] {
  const first = config.settings.EDGE_NUMBER;
  const edges: OurEdge[] = processes
    .filter(({ service }) => service === "edge")
    .map(({ environment, folder = config.root }, i) => ({
      // One whose environment is hidden is taken for the next one.
      number: environment ? Number(environment.EDGE_NUMBER || 1) : first + i,
      ...{ isRunning: true, environment, folder },
    }));
  const model = processes.find(({ environment }) => environment);
  const missing = supervisor
    ? Array.from({ length: supervisor.edges }, (_, i) => supervisor.firstEdge + i)
    : edges.length === 0
      ? [first]
      : [];
  for (const number of missing)
    if (!edges.some((edge) => edge.number === number))
      edges.push({
        ...{ number, isRunning: false, folder: model?.folder ?? config.root },
        environment: model?.environment ?? ourSettings(),
      });
  return edges.sort((one, other) => one.number - other.number);
}

/**
 * The configuration that a process was started with: its environment's, with the file as it is now.
 * @throws ConfigError when it could not be started with that again
 */
export function configOf({ environment, folder, number }: OurEdge): Promise<Config> {
  return loadConfig({ ...(environment ?? ourSettings()), EDGE_NUMBER: String(number) }, folder);
}

/**
 * The same, but with what is set here: what somebody wants who runs the doctor with settings of his own.
 * @throws ConfigError
 */
export function wantedConfig({ environment, folder, number }: OurEdge): Promise<Config> {
  return loadConfig({ ...environment, ...ourSettings(), EDGE_NUMBER: String(number) }, folder);
}

/** An empty value is none, as everywhere. */
function ourSettings(): Record<string, string> {
  const settings: Record<string, string> = {};
  for (const [name, value] of Object.entries(childEnvironment())) if (value) settings[name] = value;
  return settings;
}
