import { existsSync } from "node:fs";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { openPipeline, startReconciler, startWorker, type WorkerDefinition } from "@millrace/pipeline";
import { type RunningService, runService, type ServiceContext, StartError } from "@millrace/service";
import type { Command } from "commander";

/** The built-in workers, each a program of its own. */
const builtIn: Record<string, string> = {
  parse: "../parse/main.ts",
  store: "../store/main.ts",
  deliver: "../deliver/main.ts",
};

export function addWorkerCommand(program: Command): void {
  program
    .command("worker")
    .description(
      `run one worker: a built-in one (${Object.keys(builtIn).join(", ")}), or a file whose default export is made by defineWorker`,
    )
    .argument("<name|path>")
    .action((worker: string) => {
      const program = builtIn[worker];
      return program ? import(new URL(program, import.meta.url).href) : runFile(worker);
    });
}

export function addEdgeCommand(program: Command): void {
  program
    .command("edge")
    .description("run one SMTP edge, on SMTP_HOST and SMTP_PORT")
    .action(() => import(new URL("../edge/main.ts", import.meta.url).href));
}

function runFile(path: string): Promise<void> {
  return runService("worker", start, { watchdog: true });

  async function start({ config, log }: ServiceContext): Promise<RunningService> {
    const file = resolve(path);
    if (!existsSync(file)) {
      throw new StartError(
        `${path} is neither a built-in worker (${Object.keys(builtIn).join(", ")}) nor a file`,
      );
    }
    const worker = ((await import(pathToFileURL(file).href)) as { default?: Partial<WorkerDefinition> })
      .default;
    if (!worker?.name || !worker.handle) {
      throw new StartError(
        `${path} has no worker as its default export: write \`export default defineWorker({ … })\``,
      );
    }
    const pipeline = await openPipeline(config, log);
    const stopReconciler = startReconciler(pipeline);
    const running = await startWorker(worker as WorkerDefinition, pipeline);
    return {
      ready: { worker: worker.name },
      async stop() {
        await running.stop();
        await stopReconciler();
        await pipeline.close();
      },
    };
  }
}
