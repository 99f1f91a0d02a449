import { openMailStore } from "@millrace/mailstore";
import { linkKey, runService, workersStopWithin } from "@millrace/service";
import { startConsole } from "./console-server.ts";

await runService(
  "console",
  async ({ config, log }) => {
    const { settings, paths } = config;
    const linkSecret = await linkKey(paths.data);
    const store = openMailStore({ directory: paths.mail, readOnly: true });
    try {
      const server = await startConsole({
        host: settings.CONSOLE_HOST,
        port: settings.CONSOLE_PORT,
        store,
        linkSecret,
        log,
      });
      return {
        ready: { host: settings.CONSOLE_HOST, port: server.port },
        async stop() {
          await server.close();
          store.close();
        },
      };
    } catch (error) {
      store.close();
      throw error;
    }
  },
  { stopWithin: workersStopWithin },
);
