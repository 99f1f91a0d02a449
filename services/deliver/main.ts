import { openPipeline, startWorker, submitMessage } from "@millrace/pipeline/runtime";
import { linkKey, runService, workersStopWithin } from "@millrace/service";
import { deliverWorker } from "./deliver-worker.ts";
import { openTransport } from "./transports/open-transport.ts";

await runService(
  "deliver",
  async ({ config, log }) => {
    const { settings, hostname, paths } = config;
    const pipeline = await openPipeline(config, log);
    const linkSecret = await linkKey(paths.data);
    const consoleUrl = settings.CONSOLE_URL ?? `http://${settings.CONSOLE_HOST}:${settings.CONSOLE_PORT}`;
    const { worker, close } = deliverWorker({
      hostname,
      routes: config.routes,
      relay: config.relay,
      delivery: config.delivery,
      deliveries: (id) => pipeline.mailstore.deliveries(id),
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
    const stages = ["parse", "store", "deliver"];
    const others = pipeline.subscriptions.all().filter((each) => !stages.includes(each.worker));
    if (config.delivery.after === "message.cleared" && others.length === 0) {
      log.warn(
        "delivery.after is message.cleared, and no worker that could clear mail has ever been started: mail is stored and not delivered until one is",
      );
    }
    return {
      async stop() {
        await running.stop();
        await close();
        await pipeline.close();
      },
    };
  },
  { stopWithin: workersStopWithin },
);
