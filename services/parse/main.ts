import { defaultParseLimits } from "@millrace/mime";
import { openPipeline, startWorker } from "@millrace/pipeline";
import { runService } from "@millrace/service";
import { openParseThreads } from "./parse-threads.ts";
import { parseWorker } from "./parse-worker.ts";

await runService("parse", async ({ config, log }) => {
  const { settings, redisUrl } = config;
  const pipeline = await openPipeline(config, log);
  const threads = openParseThreads({
    redisUrl,
    threads: settings.PARSE_CONCURRENCY,
    timeout: settings.PARSE_TIMEOUT_SECONDS * 1_000,
    heapMb: settings.PARSE_HEAP_MB,
    limits: { ...defaultParseLimits, maxTextBytes: settings.PARSE_MAX_TEXT_BYTES },
  });
  // More jobs in hand than threads, so that none of these waits while another job is recorded.
  const concurrency = 4 * settings.PARSE_CONCURRENCY;
  const worker = await startWorker(parseWorker({ threads, spool: pipeline.spool, concurrency }), pipeline);
  return {
    async stop() {
      await worker.stop();
      await threads.close();
      await pipeline.close();
    },
  };
});
