import { spawn } from "node:child_process";
import { join } from "node:path";
import { freePort } from "../../support/free-port.ts";
import { end, listening, type System } from "../system.ts";

/** The ceiling: the SMTP library of our edge, discarding what it reads. */
export async function startBareServer(): Promise<System> {
  const port = await freePort();
  const child = spawn(process.execPath, [join(import.meta.dirname, "bare-server.ts"), String(port)], {
    stdio: ["ignore", "ignore", "inherit"],
  });
  await listening(port, child);
  return { name: "bare smtp-server, keeps nothing", port, stop: () => end(child) };
}
