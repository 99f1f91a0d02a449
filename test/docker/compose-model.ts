import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { join, resolve } from "node:path";

export const workspace = resolve(import.meta.dirname, "../..");
export const dockerFolder = join(workspace, "docker");
/** The program of compose-go that reads compose files, as setup.mjs installs it. */
const reader = join(workspace, "node_modules/.cache/compose-go/cmd");

/** Why a compose file cannot be read here; undefined when it can. */
export const cannotRead = existsSync(reader)
  ? undefined
  : "compose-go is not installed: npm test does that where there is Go";

/** compose.yaml as Docker Compose understands it. */
export interface ComposeModel {
  name: string;
  services: Record<string, Service>;
  networks: Record<string, { internal?: boolean; ipam?: { config: { subnet: string }[] } }>;
  volumes: Record<string, unknown>;
  configs: Record<string, { file: string }>;
}

export interface Service {
  image: string;
  build?: { dockerfile: string; args?: Record<string, string>; target?: string };
  profiles?: string[];
  user?: string;
  group_add?: string[];
  environment?: Record<string, string>;
  entrypoint?: string[];
  command?: string;
  networks?: Record<string, unknown>;
  network_mode?: string;
  ports?: { target: number; published: string; host_ip?: string }[];
  volumes?: { type: string; source: string; target: string; read_only?: boolean }[];
  configs?: { source: string; target: string }[];
  tmpfs?: string[];
  depends_on?: Record<string, { condition: string }>;
  deploy?: { replicas: number };
  healthcheck?: { test: string[] };
  stop_signal?: string;
  stop_grace_period?: string;
  restart?: string;
  read_only?: boolean;
  cap_drop?: string[];
  cap_add?: string[];
  security_opt?: string[];
  privileged?: boolean;
}

/**
 * Has compose-go, which Docker Compose is made with, read docker/compose.yaml: it fills in .env, puts merged parts in
 * their places, and holds the file against the schema of the Compose Specification.
 * @param env in front of what .env says
 * @param files in its place, each over the one before
 * @throws with what it finds fault with
 */
export function readCompose(
  env: Record<string, string> = {},
  files: readonly string[] = ["compose.yaml"],
): ComposeModel {
  const { PATH = "", HOME = "" } = process.env;
  const json = execFileSync(reader, ["-format", "json", ...files], {
    cwd: dockerFolder,
    env: { PATH, HOME, ...env },
    encoding: "utf8",
    stdio: ["ignore", "pipe", "pipe"],
  });
  return JSON.parse(json) as ComposeModel;
}

/** Seconds of a duration as compose files write them, such as `1m30s`. */
export function secondsOf(duration: string): number {
  const units = { h: 3_600, m: 60, s: 1, ms: 0.001 };
  return [...duration.matchAll(/([\d.]+)(h|ms|m|s)/g)].reduce(
    (sum, [, number, unit]) => sum + Number(number) * units[unit as keyof typeof units],
    0,
  );
}
