import { openMailStore } from "@millrace/mailstore";
import { openPipeline, reportDisk, startReconciler, startWorker } from "@millrace/pipeline/runtime";
import { runService, workersStopWithin } from "@millrace/service";
import { startArchiving } from "./archive-journal.ts";
import { startRetention } from "./daily-retention.ts";
import { storeWorker } from "./store-worker.ts";

await runService(
  "store",
  async ({ config, log }) => {
    const mailstore = openMailStore({ directory: config.paths.mail });
    const pipeline = await openPipeline(config, log);
    const stopArchiving = startArchiving(config.redisUrl, mailstore, log);
    const minFree = config.settings.STORE_MIN_FREE_MB * 1_048_576;
    const disk = { name: "mail", folder: config.paths.mail, minFree } as const;
    const stopReporting = reportDisk(pipeline.redis, disk, (error) =>
      log.warn({ ...disk, err: error }, "disk not reported, trying again"),
    );
    const stopReconciler = startReconciler(pipeline);
    const stopRetention = startRetention(pipeline, mailstore, config.routes, log);
    const worker = await startWorker(
      storeWorker({ mailstore, spool: pipeline.spool, concurrency: config.settings.STORE_CONCURRENCY }),
      pipeline,
    );
    return {
      async stop() {
        stopReporting();
        await worker.stop();
        await stopRetention();
        await stopReconciler();
        await stopArchiving();
        await pipeline.close();
        mailstore.close();
      },
    };
  },
  { stopWithin: workersStopWithin },
);
