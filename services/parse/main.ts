import { defaultParseLimits } from "@millrace/mime";
import { memoryRoom, openPipeline, startWorker } from "@millrace/pipeline/runtime";
import { runService, workersStopWithin } from "@millrace/service";
import { openParseThreads } from "./parse-threads.ts";
import { parseWorker } from "./parse-worker.ts";

await runService(
  "parse",
  async ({ config, log }) => {
    const { settings, redisUrl } = config;
    const pipeline = await openPipeline(config, log);
    const threads = openParseThreads({
      redisUrl,
      spool: pipeline.spool,
      threads: settings.PARSE_CONCURRENCY,
      timeout: settings.PARSE_TIMEOUT_SECONDS * 1_000,
      heapMb: settings.PARSE_HEAP_MB,
      limits: { ...defaultParseLimits, maxTextBytes: settings.PARSE_MAX_TEXT_BYTES },
    });
    // Many more jobs in hand than threads: most of a job is waiting for Redis, before its parsing and after it.
    const concurrency = 32 * settings.PARSE_CONCURRENCY;
    const room = memoryRoom(pipeline.redis, log, settings);
    const worker = await startWorker(
      parseWorker({ threads, spool: pipeline.spool, room, concurrency }),
      pipeline,
    );
    return {
      async stop() {
        await worker.stop();
        await threads.close();
        await pipeline.close();
      },
    };
  },
  { stopWithin: workersStopWithin },
);
