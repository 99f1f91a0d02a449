import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { join } from "node:path";
import type { Config } from "@millrace/service";
import { mainFile } from "../programs.ts";

/** A process of this installation. */
export interface OurProcess {
  pid: number;
  /** Of a service, or of the proxy before the edges. */
  service: string;
  /** What a service was started with; undefined where it may not be read: it may by its owner and by root. */
  environment: Record<string, string> | undefined;
  /** Its working folder; undefined where it may not be read. */
  folder: string | undefined;
}

/** A `millrace up` that runs. */
export interface Supervisor {
  pid: number;
  /** How many edges it keeps running, and the EDGE_NUMBER of the first. */
  edges: number;
  firstEdge: number;
}

const services = ["edge", "parse", "store", "deliver", "console"];
const proxies = ["haproxy", "nginx"];

/**
 * What runs of this installation: children of its `millrace up` first, then services that were started in its folder.
 * Undefined where there is no /proc to find them in.
 */
export function ourProcesses(
  { root }: Pick<Config, "root">,
  supervisor: Supervisor | undefined,
): OurProcess[] | undefined {
  let pids: string[];
  try {
    pids = readdirSync("/proc").filter((name) => /^\d+$/.test(name));
  } catch {
    return undefined;
  }
  if (pids.length === 0) return undefined;
  const supervised: OurProcess[] = [];
  const others: OurProcess[] = [];
  for (const pid of pids.map(Number)) {
    if (pid === process.pid) continue;
    const isChild = supervisor !== undefined && parentOf(pid) === supervisor.pid;
    const service = serviceOf(pid);
    const folder = folderOf(pid);
    const proxy = isChild && !service ? proxyOf(pid) : undefined;
    if (proxy) supervised.push({ pid, service: proxy, environment: undefined, folder });
    if (!service || !(isChild || folder === root)) continue;
    (isChild ? supervised : others).push({ pid, service, environment: environmentOf(pid), folder });
  }
  return [...supervised, ...others];
}

/** The `millrace up` that has this data folder; undefined when there is none. */
export function supervisorOf({ paths }: Pick<Config, "paths">): Supervisor | undefined {
  let pid: number;
  try {
    pid = Number(readFileSync(join(paths.data, "up.pid"), "utf8").trim());
  } catch {
    return undefined;
  }
  const words = read(pid, "cmdline");
  if (!(pid > 0) || !words.includes("millrace")) return undefined;
  const edges = Number(/\0--edges(?:=|\0)(\d+)/.exec(words)?.[1] ?? 1);
  return { pid, edges, firstEdge: Number(environmentOf(pid)?.EDGE_NUMBER || 1) };
}

/** Open files: how many a process may have and, where it may be looked at, how many it has. */
export function openFiles(pid: number | "self"): { limit: number; used: number | undefined } | undefined {
  const limit = /^Max open files\s+(\d+|unlimited)/m.exec(read(pid, "limits"))?.[1];
  if (limit === undefined) return undefined;
  let used: number | undefined;
  try {
    used = readdirSync(`/proc/${pid}/fd`).length;
  } catch {
    used = undefined;
  }
  return { limit: limit === "unlimited" ? Number.POSITIVE_INFINITY : Number(limit), used };
}

/** `up` runs a service's main file; by itself it is `millrace edge` or `millrace worker store`. */
function serviceOf(pid: number): string | undefined {
  const words = read(pid, "cmdline").split("\0").filter(Boolean);
  const own = services.find((service) => words.includes(mainFile(service)));
  if (own) return own;
  const at = words.findIndex((word) => /(^|\/)millrace(\.mjs)?$/.test(word));
  if (at === -1) return undefined;
  const [command, worker] = words.slice(at + 1);
  const named = command === "worker" ? worker : command;
  return services.find((service) => service === named);
}

function proxyOf(pid: number): string | undefined {
  // One that has ended, and whose parent has not heard of it yet, has a name and no words.
  if (read(pid, "cmdline") === "") return undefined;
  const name = read(pid, "comm").trim();
  return proxies.find((proxy) => proxy === name);
}

function parentOf(pid: number): number {
  return Number(/^PPid:\s+(\d+)/m.exec(read(pid, "status"))?.[1]);
}

function environmentOf(pid: number): Record<string, string> | undefined {
  const entries = read(pid, "environ").split("\0").filter(Boolean);
  if (entries.length === 0) return undefined;
  return Object.fromEntries(
    entries.map((entry) => {
      const at = entry.indexOf("=");
      return [entry.slice(0, at), entry.slice(at + 1)];
    }),
  );
}

function folderOf(pid: number): string | undefined {
  try {
    return readlinkSync(`/proc/${pid}/cwd`);
  } catch {
    return undefined;
  }
}

function read(pid: number | "self", file: string): string {
  try {
    return readFileSync(`/proc/${pid}/${file}`, "utf8");
  } catch {
    return "";
  }
}
