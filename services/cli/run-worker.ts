import { existsSync } from "node:fs";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { openPipeline, startReconciler, startWorker, type WorkerTiming } from "@millrace/pipeline/runtime";
import {
  type RunningService,
  runService,
  type ServiceContext,
  StartError,
  workerConfig,
  workersStopWithin,
} from "@millrace/service";
import type { Command } from "commander";
import { loadWorker } from "./load-worker.ts";
import { mainFile } from "./programs.ts";

/** The built-in workers, each a program of its own. */
const builtIn = ["parse", "store", "deliver"];

export function addWorkerCommand(program: Command): void {
  program
    .command("worker")
    .description(
      `run one worker: a built-in one (${builtIn.join(", ")}), or a file whose default export is made by defineWorker`,
    )
    .argument("<name|path>")
    .action((worker: string) => (builtIn.includes(worker) ? runBuiltIn(worker) : runFile(worker)));
}

export function addEdgeCommand(program: Command): void {
  program
    .command("edge")
    .description("run one SMTP edge, on SMTP_HOST and SMTP_PORT or on the listeners of the configuration")
    .action(() => runBuiltIn("edge"));
}

/** A service runs as it is loaded. */
async function runBuiltIn(service: string): Promise<void> {
  await import(pathToFileURL(mainFile(service)).href);
}

/** Runs the worker of a file until the process is told to stop. */
export function runFile(path: string, timing: Partial<WorkerTiming> = {}): Promise<void> {
  return runService("worker", start, { watchdog: true, stopWithin: workersStopWithin });

  async function start({ config, log }: ServiceContext): Promise<RunningService> {
    if (!existsSync(resolve(path))) {
      throw new StartError(`${path} is neither a built-in worker (${builtIn.join(", ")}) nor a file`);
    }
    const worker = await loadWorker(path);
    const ownConfig = workerConfig(worker.name, worker.config, config);
    const pipeline = await openPipeline(config, log);
    const stopReconciler = startReconciler(pipeline);
    const running = await startWorker(worker, pipeline, timing, ownConfig);
    return {
      ready: { worker: worker.name, ...(worker.version === undefined ? {} : { version: worker.version }) },
      async stop() {
        await running.stop();
        await stopReconciler();
        await pipeline.close();
      },
    };
  }
}
