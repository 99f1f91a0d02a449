import { createLogger } from "@millrace/service";
import { openPipeline } from "../open-pipeline.ts";
import { startWorker } from "../start-worker.ts";
import { defineWorker } from "../worker.ts";

// A process with a worker that a message with "poison" in its body kills: started by a test, with the folder of its
// pipeline and the address of its Redis.
const [folder = "", redisUrl = ""] = process.argv.slice(2);
const paths = { data: folder, redis: folder, mail: `${folder}/mail`, maildir: folder };
const pipeline = await openPipeline({ redisUrl, paths }, createLogger("dying", "silent"));
const worker = defineWorker({
  name: "dying",
  on: "message.stored",
  maxCrashes: 4,
  async handle(event, ctx) {
    process.send?.({ began: event.message, crashes: ctx.crashes });
    const body = (await ctx.read()).toString();
    // All that are in hand at this moment lose their process with this one.
    await new Promise((resolve) => setTimeout(resolve, 100));
    if (body.includes("poison")) process.kill(process.pid, "SIGKILL");
  },
});
await startWorker(worker, pipeline, { lockDuration: 1_500, stalledInterval: 500 });
