import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { certificate } from "../../support/certificate.ts";
import { freePort } from "../../support/free-port.ts";
import { Installation } from "../../support/millrace.ts";
import { startProxy } from "../../support/proxy-process.ts";
import { command, NotInstalled, type System } from "../system.ts";

/**
 * HAProxy before edges, with the file that `millrace proxy haproxy` prints and under the batch policy, as `up --proxy`
 * and the unit in docker/proxy-guide.md run it. What is measured is its port for STARTTLS, which passes on what comes
 * in the clear as well: smtp-source speaks no TLS.
 *
 * @param ports of the edges' listeners that take PROXY headers
 */
export async function startHaproxy(name: string, ports: readonly number[]): Promise<System> {
  const version = await command("haproxy", ["-v"]).catch(() => {
    throw new NotInstalled("not installed");
  });
  const folder = await mkdtemp(join(tmpdir(), "millrace-haproxy-"));
  const millrace = new Installation();
  const remove = async () => {
    await millrace.remove();
    await rm(folder, { recursive: true, force: true });
  };
  try {
    const [smtps, port] = [await freePort(), await freePort()];
    const file = join(folder, "haproxy.cfg");
    const edges = ports.flatMap((each) =>
      ["--edge", "--starttls-edge"].flatMap((option) => [option, `127.0.0.1:${each}`]),
    );
    const { status, stderr } = await millrace.run([
      ...["proxy", "haproxy", "--listen", "127.0.0.1", "--cert", certificate(folder, "localhost").both],
      ...["--smtps-port", String(smtps), "--starttls-port", String(port), "--stats-port", "0", ...edges],
      // All load comes from one address.
      ...["--max-per-ip", "0", "--max-rate-per-ip", "0", "--unprivileged", folder, "--out", file],
    ]);
    if (status !== 0) throw new Error(stderr.trim());
    const proxy = await startProxy(["chrt", "--batch", "0", "haproxy", "-db", "-f", file], [port]);
    return {
      name: `${name}, HAProxy ${/version (\d+\.\d+\.\d+)/.exec(version)?.[1] ?? ""}`.trim(),
      port,
      async stop() {
        await proxy.stop();
        await remove();
      },
    };
  } catch (error) {
    await remove();
    throw error;
  }
}
