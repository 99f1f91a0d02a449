import { access, constants, stat, statfs } from "node:fs/promises";
import { dirname } from "node:path";
import type { Config } from "@millrace/service";
import { octets } from "../../terminal.ts";
import { type Finding, failure, ok, warning } from "../finding.ts";

const check = "disk";
const mebibyte = 1_048_576;
/** Share of files that must still fit: the mail store has one for each message. */
const fewFiles = 0.02;

/** Room and permissions where mail is kept, and where our own Redis writes. */
export async function checkDisks(config: Config): Promise<Finding[]> {
  const { paths, settings, redisIsOurs } = config;
  const folders = redisIsOurs ? [paths.data, paths.mail, paths.redis] : [paths.data, paths.mail];
  const disks = new Map<number, { folder: string; there: string }[]>();
  for (const folder of folders) {
    const there = await nearest(folder);
    const { dev } = await stat(there);
    disks.set(dev, [...(disks.get(dev) ?? []), { folder, there }]);
  }
  const findings: Finding[] = [];
  for (const each of disks.values()) {
    const [{ folder, there }] = each as [{ folder: string; there: string }];
    const closed = await firstClosed(each.map((one) => one.there));
    findings.push(closed ?? (await checkDisk(folder, there, settings.STORE_MIN_FREE_MB * mebibyte)));
  }
  return findings;
}

async function firstClosed(folders: string[]): Promise<Finding | undefined> {
  for (const folder of folders) {
    const open = await access(folder, constants.W_OK).then(
      () => true,
      () => false,
    );
    if (!open)
      return failure(
        check,
        `${folder} may not be written to by this user`,
        `Run as the user that owns it, or give it to this one: chown -R <user> ${folder}.`,
      );
  }
  return undefined;
}

async function checkDisk(folder: string, there: string, least: number): Promise<Finding> {
  const { bavail, bsize, files, ffree } = await statfs(there);
  const free = bavail * bsize;
  const figures = { freeBytes: free };
  const seen = `${octets(free)} free in ${folder}${there === folder ? "" : " (not made yet)"}`;
  if (free < least)
    return {
      ...failure(
        check,
        `${seen}, below STORE_MIN_FREE_MB=${least / mebibyte}: new mail gets 452`,
        "Free the disk, keep less (keep: in routes, millrace retain), or lower STORE_MIN_FREE_MB.",
      ),
      figures,
    };
  if (files > 0 && ffree / files < fewFiles)
    return warning(
      check,
      `${seen}, but only ${ffree} more files fit (df -i)`,
      "Remove small files, or move the folder to a file system with more inodes.",
      figures,
    );
  if (free < 2 * least)
    return warning(
      check,
      `${seen}; from ${octets(least)} on new mail gets 452`,
      "Free the disk soon, or keep less (keep: in routes, millrace retain).",
      figures,
    );
  return ok(check, `${seen}; new mail gets 452 below ${octets(least)}`, figures);
}

/** The folder itself, or the nearest above it that is there. */
async function nearest(folder: string): Promise<string> {
  for (let at = folder; ; at = dirname(at)) {
    const there = await access(at).then(
      () => true,
      () => false,
    );
    if (there || at === dirname(at)) return at;
  }
}
