import { execFile } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdirSync, mkdtempSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";

const run = promisify(execFile);

/** What is mounted in a container's folder, beside its own files. */
export interface Mounts {
  /** Where, and mount's own options, such as `uid=99,mode=0700`. */
  tmpfs?: { target: string; options: string }[];
  /** Absolute path here, and there. */
  binds?: { source: string; target: string; readOnly: boolean }[];
}

export interface InsideOptions extends Mounts {
  /** Folders of files over those of this machine, the first being the lowest. The last is written to. */
  layers: readonly string[];
  env: Record<string, string>;
  workdir: string;
  /** uid, gid and further groups; undefined: root, with all that root may. */
  user?: { uid: number; gid: number; groups: readonly number[] };
  readOnly?: boolean;
}

/**
 * Words of a command that runs another one in a folder of its own: this machine's files, with `layers` laid over them.
 * Only the last layer is changed by what it does, and mounts are seen by nobody else. Needs root, and Linux. With a
 * `user`, the command has no capability and gets none, as with `cap_drop: [ALL]` and `no-new-privileges`.
 */
export function inside(options: InsideOptions, command: readonly string[]): [string, ...string[]] {
  const { layers, env, workdir, user, tmpfs = [], binds = [], readOnly = false } = options;
  const top = layers.at(-1) as string;
  const work = mkdtempSync(`${top}-work-`);
  for (const each of ["work", "root"]) mkdirSync(join(work, each));
  const root = join(work, "root");
  const lower = ["/", ...layers.slice(0, -1)].reverse().join(":");
  const drop = user && [
    ...["setpriv", `--reuid=${user.uid}`, `--regid=${user.gid}`],
    user.groups.length > 0 ? `--groups=${user.groups.join(",")}` : "--clear-groups",
    // Whoever is left behind when a test is killed, goes as well.
    ...["--inh-caps=-all", "--bounding-set=-all", "--no-new-privs", "--pdeathsig=KILL"],
  ];
  const lines = [
    "set -eu",
    `mount -t overlay overlay -o lowerdir=${lower},upperdir=${top},workdir=${work}/work ${root}`,
    `mount --rbind /dev ${root}/dev`,
    `mount -t proc proc ${root}/proc`,
    ...tmpfs.flatMap(({ target, options }) => [
      `mkdir -p ${root}${target}`,
      `mount -t tmpfs ${options ? `-o ${options} ` : ""}tmpfs ${root}${target}`,
    ]),
    ...binds.flatMap(({ source, target, readOnly }) => [
      `[ -d ${source} ] && mkdir -p ${root}${target} || { mkdir -p $(dirname ${root}${target}); touch ${root}${target}; }`,
      `mount --bind ${source} ${root}${target}`,
      ...(readOnly ? [`mount -o remount,ro,bind ${root}${target}`] : []),
    ]),
    `mkdir -p ${root}${workdir}`,
    ...(readOnly ? [`mount -o remount,ro ${root}`] : []),
    // One process from first to last: each program takes the place of the one before, and so has its number.
    `exec chroot ${root} "$@"`,
  ];
  const settings = Object.entries(env).map(([name, value]) => `${name}=${value}`);
  const there = ["env", "-i", ...settings, ...(drop ?? [])];
  return [
    ...(["unshare", "--mount", "--propagation", "private"] as [string, ...string[]]),
    ...["sh", "-c", lines.join("\n"), "sh"],
    ...[...there, "sh", "-c", 'cd "$0" && exec "$@"', workdir, ...command],
  ];
}

/** Runs it to its end. @throws with what it has written, when its status is not 0 */
export async function runInside(options: InsideOptions, command: readonly string[]): Promise<string> {
  const [program, ...words] = inside(options, command);
  try {
    return (await run(program, words, { maxBuffer: 64 * 1024 * 1024 })).stdout;
  } catch (error) {
    const { stdout, stderr, message } = error as Error & { stdout: string; stderr: string };
    throw new Error(`${command.join(" ")}: ${stderr || message}${stdout}`);
  }
}

/** A layer with nothing in it. */
export function emptyLayer(folder: string): string {
  const layer = join(folder, `layer-${randomBytes(4).toString("hex")}`);
  mkdirSync(layer);
  return layer;
}
