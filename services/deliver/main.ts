import { openPipeline, startWorker, submitMessage } from "@millrace/pipeline";
import { linkKey, runService } from "@millrace/service";
import { deliverWorker } from "./deliver-worker.ts";
import { openTransport } from "./transports/open-transport.ts";

await runService("deliver", async ({ config, log }) => {
  const { settings, hostname, paths } = config;
  const pipeline = await openPipeline(config, log);
  const linkSecret = await linkKey(paths.data);
  const consoleUrl = settings.CONSOLE_URL ?? `http://${settings.CONSOLE_HOST}:${settings.CONSOLE_PORT}`;
  const { worker, close } = deliverWorker({
    hostname,
    routes: config.routes,
    relay: config.relay,
    submit: (submission) => submitMessage(pipeline, submission),
    log,
    concurrency: settings.DELIVER_CONCURRENCY,
    targetConcurrency: settings.DELIVER_TARGET_CONCURRENCY,
    openTransport: (target) =>
      openTransport(target, {
        hostname,
        consoleUrl,
        linkSecret,
        connections: settings.DELIVER_TARGET_CONCURRENCY,
      }),
  });
  const running = await startWorker(worker, pipeline);
  return {
    async stop() {
      await running.stop();
      await close();
      await pipeline.close();
    },
  };
});
