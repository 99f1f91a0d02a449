import { setDefaultHighWaterMark } from "node:stream";
import { openIntake } from "@millrace/pipeline";
import { runService } from "@millrace/service";
import { startEdge } from "./edge-server.ts";

// A client's octets pass through three streams, each of which would hold 64 KB. Here many clients wait for one Redis,
// and what they have under way is what the process weighs.
setDefaultHighWaterMark(false, 16_384);

await runService("edge", async ({ config, log }) => {
  const { settings, hostname, routes, redisUrl } = config;
  const intake = await openIntake(redisUrl, log, settings);
  try {
    const edge = await startEdge({ settings, hostname, routes, intake, log });
    return {
      ready: { host: settings.SMTP_HOST, port: edge.port },
      async stop() {
        await edge.close();
        await intake.close();
      },
    };
  } catch (error) {
    await intake.close();
    throw error;
  }
});
