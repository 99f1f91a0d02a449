import { chmod, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { getuid } from "node:process";
import { freePort } from "../../support/free-port.ts";
import { command, listening, NotInstalled, type System } from "../system.ts";

/** Postfix keeps accepted mail on hold, and so does only what a 250 asks of it; or it relays it to `sinkPort`. */
export type PostfixTask = { hold: true } | { sinkPort: number };

/**
 * Starts a Postfix of the bench's own, with its defaults but for what makes it an instance of its own: folders,
 * port, no DNS. The machine's Postfix, if there is one, is not touched.
 */
export async function startPostfix(task: PostfixTask): Promise<System> {
  if (getuid?.() !== 0) throw new NotInstalled("needs root to start");
  const version = await command("postconf", ["-dh", "mail_version"]).catch(() => {
    throw new NotInstalled("not installed");
  });
  const folder = await mkdtemp(join(tmpdir(), "millrace-postfix-"));
  const port = await freePort();
  const config = join(folder, "etc");
  await chmod(folder, 0o755);
  for (const name of ["etc", "queue", "data"]) await mkdir(join(folder, name), { mode: 0o755 });
  await command("chown", ["postfix", join(folder, "data")]);
  await writeFile(join(config, "main.cf"), mainConfig(folder, task));
  await writeFile(join(config, "master.cf"), services(port, task));

  const postfix = (...words: string[]) => command(words[0] ?? "postfix", ["-c", config, ...words.slice(1)]);
  await postfix("postfix", "start");
  await listening(port);
  return {
    name: `Postfix ${version.trim()}`,
    port,
    clear: async () => {
      if ("hold" in task) await postfix("postsuper", "-d", "ALL", "hold");
    },
    async stop() {
      await postfix("postfix", "stop");
      await rm(folder, { recursive: true, force: true, maxRetries: 5 });
    },
  };
}

function mainConfig(folder: string, task: PostfixTask): string {
  return [
    "compatibility_level = 3.6",
    `queue_directory = ${folder}/queue`,
    `data_directory = ${folder}/data`,
    "myhostname = postfix.bench.example",
    "inet_interfaces = 127.0.0.1",
    "inet_protocols = ipv4",
    "mydestination =",
    "local_recipient_maps =",
    "alias_maps =",
    "mynetworks = 127.0.0.0/8",
    "smtpd_relay_restrictions = permit_mynetworks, reject",
    "smtpd_peername_lookup = no",
    "disable_dns_lookups = yes",
    ...("sinkPort" in task ? [`relayhost = [127.0.0.1]:${task.sinkPort}`] : []),
    "",
  ].join("\n");
}

/** master.cf: service, type, private, unprivileged, chroot, wakeup, maxproc, command. */
function services(port: number, task: PostfixTask): string {
  const hold = "hold" in task ? " -o smtpd_client_restrictions=check_client_access,static:HOLD" : "";
  return [
    `127.0.0.1:${port} inet n - n - - smtpd${hold}`,
    "cleanup unix n - n - 0 cleanup",
    "qmgr unix n - n 300 1 qmgr",
    "rewrite unix - - n - - trivial-rewrite",
    ...["bounce", "defer", "trace"].map((name) => `${name} unix - - n - 0 bounce`),
    ...["error", "retry"].map((name) => `${name} unix - - n - - error`),
    ...["smtp", "relay"].map((name) => `${name} unix - - n - - smtp`),
    "proxymap unix - - n - - proxymap",
    "anvil unix - - n - 1 anvil",
    "scache unix - - n - 1 scache",
    "",
  ].join("\n");
}
