import { type Config, ConfigError, loadConfig } from "./config.ts";
import { createLogger, type Logger } from "./log.ts";
import { startWatchdog } from "./watchdog.ts";

/** Exit statuses a supervisor tells apart: a wrong configuration does not get better by a restart. */
export const exitStatus = { ok: 0, crashed: 1, config: 78, unavailable: 69 } as const;

/** Cannot start for a reason that a person has to mend; its message is the one line they read. */
export class StartError extends Error {
  override name = "StartError";
}

/** Why a service is to end: somebody told it to, what started it ends all it has started, or has gone. */
export type StopReason = "SIGTERM" | "SIGINT" | "supervisor stops" | "supervisor lost";

/** Milliseconds in which a worker's process must have stopped: its handlers have ten seconds of them to finish. */
export const workersStopWithin = 25_000;

/** What a service gives back once it works. */
export interface RunningService {
  /** What a supervisor may tell about it, such as the address it listens on. */
  ready?: Record<string, unknown>;
  /** Reads again what may have changed, such as certificates: asked for by SIGHUP. Without it SIGHUP ends the process. */
  reload?(): void;
  /** Finishes or hands back what is under way, then lets go of everything. Must end by itself. */
  stop(reason: StopReason): Promise<void>;
}

export interface ServiceContext {
  config: Config;
  log: Logger;
}

/**
 * The life of a process: configuration, logger, start, readiness, signals, end. SIGTERM, the supervisor's message
 * `{ type: "stop" }`, or the loss of that supervisor, stops it in order; a second signal ends it at once.
 *
 * @param options `watchdog`: whether code that may never return runs in it; see {@link startWatchdog}. `stopWithin`:
 * milliseconds after which a stop that has not come to its end is cut off, for a service that can be killed at any instant
 */
export async function runService(
  name: string,
  start: (context: ServiceContext) => Promise<RunningService>,
  options: { watchdog?: boolean; stopWithin?: number } = {},
): Promise<void> {
  const supervised = process.send !== undefined;
  let log: Logger | undefined;
  let running: RunningService | undefined;
  let stopping = false;

  const end = (status: number): void => {
    if (supervised && process.connected) process.disconnect?.();
    // The logger writes behind; what it still holds is the reason for this very exit.
    if (log) log.flush(() => process.exit(status));
    else process.exit(status);
    setTimeout(() => process.exit(status), 500).unref();
  };
  const stop = async (reason: StopReason): Promise<void> => {
    if (stopping) {
      log?.warn({ reason }, "stopped at once");
      return end(exitStatus.crashed);
    }
    stopping = true;
    log?.info({ reason }, "stopping");
    const { stopWithin } = options;
    const cutOff = () => {
      log?.error({ reason, stopWithin }, "did not stop in time, cut off");
      end(exitStatus.crashed);
    };
    if (stopWithin !== undefined) setTimeout(cutOff, stopWithin).unref();
    try {
      await running?.stop(reason);
      log?.info("stopped");
      end(exitStatus.ok);
    } catch (error) {
      log?.error({ err: error }, "stopped badly");
      end(exitStatus.crashed);
    }
  };

  try {
    const config = await loadConfig();
    log = createLogger(name, config.settings.LOG_LEVEL);
    const logger = log;
    const { WATCHDOG_SECONDS } = config.settings;
    if (options.watchdog && WATCHDOG_SECONDS > 0) startWatchdog(WATCHDOG_SECONDS, name);
    process.on("unhandledRejection", (error) => {
      logger.fatal({ err: error }, "crashed");
      end(exitStatus.crashed);
    });
    process.on("uncaughtException", (error) => {
      logger.fatal({ err: error }, "crashed");
      end(exitStatus.crashed);
    });
    process.on("SIGTERM", () => void stop("SIGTERM"));
    // Ctrl-C reaches the whole process group; under a supervisor it is the supervisor that stops us, in order.
    process.on("SIGINT", () => supervised || void stop("SIGINT"));
    if (supervised) {
      process.on("disconnect", () => void stop("supervisor lost"));
      process.on("message", (message: { type?: string }) => {
        if (message.type === "stop") void stop("supervisor stops");
      });
    }
    // It may have died while we were being loaded, when nobody listened yet.
    if (supervised && !process.connected) return void stop("supervisor lost");

    running = await start({ config, log });
    if (stopping) return;
    const { reload } = running;
    if (reload) process.on("SIGHUP", () => stopping || reload());
    log.info(running.ready ?? {}, "ready");
    process.send?.({ type: "ready", ...running.ready });
  } catch (error) {
    if (error instanceof ConfigError) {
      for (const problem of error.problems) process.stderr.write(`millrace ${name}: ${problem}\n`);
      return end(exitStatus.config);
    }
    if (error instanceof StartError) {
      process.stderr.write(`millrace ${name}: ${error.message}\n`);
      return end(exitStatus.unavailable);
    }
    if (log) log.fatal({ err: error }, "could not start");
    else process.stderr.write(`millrace ${name}: ${(error as Error).stack}\n`);
    end(exitStatus.crashed);
  }
}

/** The environment for a process of ours: this one's own, and what stands beside it. */
export function childEnvironment(beside: Record<string, string> = {}): NodeJS.ProcessEnv {
  return { ...process.env, ...beside };
}
