import { setDefaultHighWaterMark } from "node:stream";
import { openLimits } from "@millrace/limits";
import { openIntake } from "@millrace/pipeline/runtime";
import { type HealthServer, runService, type StopReason, startHealthServer } from "@millrace/service";
import { type Authentication, openAuthentication } from "./authentication.ts";
import { type Edge, startEdge } from "./edge-server.ts";

// A client's octets pass through three streams, each of which would hold 64 KB. Here many clients wait for one Redis,
// and what they have under way is what the process weighs.
setDefaultHighWaterMark(false, 16_384);

await runService("edge", async ({ config, log }) => {
  const { settings, listeners, hostname, routes, relay, policies, redisUrl } = config;
  const intake = await openIntake(redisUrl, log, settings);
  const limits = await openLimits(redisUrl, settings);
  let authentication: Authentication | undefined;
  let edge: Edge | undefined;
  let health: HealthServer | undefined;
  const stop = async (reason?: StopReason) => {
    // Where `up` ends, so does its proxy, and nobody is left to notice; and the next `up` needs our ports.
    const last = config.proxy !== undefined && /^supervisor/.test(reason ?? "");
    await edge?.close({ drain: !last });
    // Last of all that can be asked: while it answers, it is we who say that we are not ready.
    await health?.close();
    await authentication?.close();
    await limits?.close();
    await intake.close();
  };
  try {
    if (config.health) {
      health = await startHealthServer({
        ...config.health,
        unready: () => (edge ? edge.unready() : "starting"),
        metrics: async () => (edge ? edge.metrics() : { type: "text/plain", text: "" }),
      });
    }
    if (settings.SMTP_ENABLE_AUTH) authentication = await openAuthentication(config, log);
    edge = await startEdge({
      ...{ settings, listeners, hostname, routes, relay, policies },
      ...{ intake, authentication, limits, log },
    });
    const { port, listening, reload } = edge;
    return { ready: { port, listening, ...(health && { health: health.port }) }, reload, stop };
  } catch (error) {
    await stop();
    throw error;
  }
});
