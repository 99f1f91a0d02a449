import { openMailStore } from "@millrace/mailstore";
import { journalTail, openPipeline, startReconciler, startWorker } from "@millrace/pipeline";
import { patientRedis, runService } from "@millrace/service";
import { startArchiving } from "./archive-journal.ts";
import { startRetention } from "./daily-retention.ts";
import { storeWorker } from "./store-worker.ts";

await runService("store", async ({ config, log }) => {
  const mailstore = openMailStore({ directory: config.paths.mail });
  const pipeline = await openPipeline(config, log);
  // Reading the journal blocks its connection, so it has one of its own.
  const journalRedis = patientRedis(config.redisUrl);
  const stopArchiving = startArchiving(journalTail(journalRedis), mailstore, log);
  const stopReconciler = startReconciler(pipeline);
  const stopRetention = startRetention(pipeline, mailstore, config.routes, log);
  const worker = await startWorker(
    storeWorker({ mailstore, spool: pipeline.spool, concurrency: config.settings.STORE_CONCURRENCY }),
    pipeline,
  );
  return {
    async stop() {
      await worker.stop();
      await stopRetention();
      await stopReconciler();
      await stopArchiving();
      journalRedis.disconnect();
      await pipeline.close();
      mailstore.close();
    },
  };
});
