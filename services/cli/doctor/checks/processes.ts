import type { Config } from "@millrace/service";
import { type Finding, failure, ok, skipped } from "../finding.ts";
import { type OurProcess, openFiles, type Supervisor } from "../processes.ts";

/** What mail needs on its way; the console only serves links. */
const needed = ["edge", "parse", "store", "deliver"];

/**
 * Whether everything runs that mail needs.
 * @param proxy the one that `up` runs before its edges
 */
export function checkProcesses(
  processes: OurProcess[] | undefined,
  supervisor: Supervisor | undefined,
  proxy: string | undefined,
): Finding {
  const check = "processes";
  if (!processes)
    return skipped(check, "this system has no /proc to find them in", "Look at the log of millrace up.");
  const counts = new Map<string, number>();
  for (const { service } of processes) counts.set(service, (counts.get(service) ?? 0) + 1);
  const running = [...counts]
    .map(([service, count]) => (count === 1 ? service : `${count} ${service}`))
    .join(", ");
  const missing = [...needed, ...(proxy ? [proxy] : [])].filter((service) => !counts.has(service));
  const edges = counts.get("edge") ?? 0;
  if (supervisor && edges > 0 && edges < supervisor.edges)
    missing.push(`${supervisor.edges - edges} of ${supervisor.edges} edges`);
  const by = supervisor === undefined ? "" : ` (millrace up, pid ${supervisor.pid})`;
  if (missing.length === 0) return ok(check, `running: ${running}${by}`);
  const seen = `${running ? `running: ${running}${by}; ` : ""}not running here: ${missing.join(", ")}`;
  if (supervisor !== undefined)
    return failure(check, seen, "millrace up starts them again by itself; its log says why they end.");
  if (counts.size > 0)
    return skipped(
      check,
      seen,
      "Where they run on other machines all is well; else start them: millrace worker <name>, or systemctl start.",
    );
  return failure(
    check,
    seen,
    "Start them: millrace up, or systemctl start millrace-edge@1 millrace-worker@parse ….",
  );
}

/** Descriptors beside those of connections: files, Redis, health checks. */
const besideConnections = 100;

/** Whether a process may open as many files as SMTP_MAX_CLIENTS needs. */
export function checkDescriptors(processes: OurProcess[] | undefined, { settings }: Config): Finding[] {
  const check = "descriptors";
  const clients = settings.SMTP_MAX_CLIENTS;
  const wanted = clients + besideConnections;
  const own = openFiles("self");
  if (!processes || !own) return [skipped(check, "this system has no /proc/<pid>/limits", "See ulimit -n.")];
  const edges = processes.filter(({ service }) => service === "edge");
  const all = edges.map(({ pid }) => ({ who: `edge (pid ${pid})`, ...openFiles(pid) }));
  if (all.length === 0) all.push({ who: "this shell, from which no edge runs", ...own });
  return all.map(({ who, limit, used }) => {
    if (limit === undefined) return skipped(check, `${who} has just ended`);
    const seen = `${who} may open ${Number.isFinite(limit) ? limit : "any number of"} files${used === undefined ? "" : ` and has ${used}`}`;
    if (used !== undefined && used > 0.9 * limit)
      return failure(check, `${seen}: new connections will fail`, raise(wanted));
    if (limit < wanted)
      return failure(check, `${seen}; SMTP_MAX_CLIENTS=${clients} needs ${wanted}`, raise(wanted));
    return ok(check, seen);
  });
}

function raise(wanted: number): string {
  return `Raise it to ${wanted} or more: LimitNOFILE= in the unit (millrace systemd prints it), ulimit -n in the shell; or lower SMTP_MAX_CLIENTS.`;
}
