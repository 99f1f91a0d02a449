import {
  appendFileSync,
  mkdirSync,
  readdirSync,
  readlinkSync,
  renameSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { failFastRedis } from "@millrace/service";
import type { Redis } from "ioredis";
import { Installation } from "../support/millrace.ts";
import { startRedis, type TestRedis } from "../support/redis.ts";
import { until } from "../support/until.ts";
import { Disk } from "./disk.ts";
import { RedisProxy } from "./redis-proxy.ts";
import { openSmtpSink, openWebhookSink, type Sink } from "./sinks.ts";

/**
 * What an installation is made of. "plain": as `millrace up` makes it, on disks of its own where there are any;
 * "proxied": a Redis of somebody else's, behind a proxy; "clock": a clock that can be set.
 */
export type Shape = "plain" | "proxied" | "clock";

export interface SiteOptions {
  shape: Shape;
  /** Whether data folder and mail store lie on disks of their own. Needs root. */
  disks: boolean;
  /** Environment of `millrace up` and all it starts. */
  env?: Record<string, string>;
}

/** Debian's libfaketime: it answers a process that asks for the time, by what stands in a file. */
export const faketimeLibrary = `/usr/lib/${process.arch === "arm64" ? "aarch64" : "x86_64"}-linux-gnu/faketime/libfaketime.so.1`;

/** Milliseconds an installation may take to start, on a machine that is busy with several others. */
const startWithin = 180_000;
/** Milliseconds processes have to be gone after a SIGKILL, or after their supervisor. */
const endWithin = 60_000;

const open = new Set<Site>();
const opening = new Set<Promise<Site>>();
let ending = false;

/**
 * Ends every installation of this process, whatever it is in the middle of: before the process itself is ended.
 * No other can be opened afterwards.
 */
export async function closeAllSites(): Promise<void> {
  ending = true;
  await Promise.allSettled(Array.from(open, (site) => site.close()));
  await Promise.allSettled(opening);
}

/** A whole installation with its load's targets: what a round of the suite does its damage to. */
export class Site {
  readonly shape: Shape;
  readonly millrace: Installation;
  readonly smtp: Sink;
  readonly webhook: Sink;
  /** Mounted as data folder (Redis, Maildirs) and under the mail store. */
  readonly disks: { data: Disk; mail: Disk } | undefined;
  readonly proxy: RedisProxy | undefined;
  private readonly redis: TestRedis | undefined;
  private readonly clockFile: string;
  private closed = false;

  private constructor(
    shape: Shape,
    parts: Pick<Site, "millrace" | "smtp" | "webhook" | "disks" | "proxy">,
    redis: TestRedis | undefined,
  ) {
    this.shape = shape;
    this.millrace = parts.millrace;
    this.smtp = parts.smtp;
    this.webhook = parts.webhook;
    this.disks = parts.disks;
    this.proxy = parts.proxy;
    this.redis = redis;
    this.clockFile = join(parts.millrace.folder, "clock");
    open.add(this);
  }

  /** Makes an installation and starts it. */
  static open(options: SiteOptions): Promise<Site> {
    const site = Site.make(options);
    opening.add(site);
    return site.finally(() => opening.delete(site));
  }

  private static async make({ shape, disks, env = {} }: SiteOptions): Promise<Site> {
    if (ending) throw new Error("no installation is opened any more");
    const [smtp, webhook] = await Promise.all([openSmtpSink(), openWebhookSink()]);
    const redis = shape === "proxied" ? await startRedis() : undefined;
    const proxy = redis && (await RedisProxy.open(redis.url.slice("unix://".length)));
    const millrace = new Installation({
      config: routesTo(smtp, webhook),
      env: { ...env, ...(proxy ? { REDIS_URL: proxy.url } : {}) },
    });
    millrace.startWithin = startWithin;
    const { folder } = millrace;
    const site = new Site(
      shape,
      { millrace, smtp, webhook, proxy, disks: disks ? await makeDisks(folder) : undefined },
      redis,
    );
    if (shape === "clock") {
      site.setClock(0);
      Object.assign(millrace.env, {
        // The C library's malloc before jemalloc, with which Debian's Redis is linked: that one asks for the time while
        // libfaketime is only just starting, and the two wait for each other.
        LD_PRELOAD: `${faketimeLibrary} libc.so.6`,
        FAKETIME_TIMESTAMP_FILE: site.clockFile,
        // Every look at the clock reads the file: all processes jump together, as on one machine.
        FAKETIME_NO_CACHE: "1",
        // What a jump of the real clock leaves alone.
        FAKETIME_DONT_FAKE_MONOTONIC: "1",
      });
    }
    try {
      await site.up();
      return site;
    } catch (error) {
      await site.close();
      throw error;
    }
  }

  get folder(): string {
    return this.millrace.folder;
  }

  /** Folder of the mail store. */
  get mail(): string {
    return join(this.folder, "var/mail");
  }

  /** Folder of one recipient's Maildir. */
  maildir(recipient: string): string {
    return join(this.folder, "var/maildir", recipient, "new");
  }

  /** Where the harness itself reaches Redis, past any proxy. A command waits some seconds for it, not for ever. */
  redisClient(): Redis {
    const path = this.redis?.url.slice("unix://".length) ?? join(this.folder, "var/redis/redis.sock");
    return failFastRedis(`unix://${path}`, { enableOfflineQueue: true, maxRetriesPerRequest: 50 });
  }

  async up(): Promise<void> {
    if (this.closed || ending) throw new Error("the installation is closed");
    this.keepOutput();
    await this.millrace.up();
  }

  /** Adds what `up` has written so far to the log of this installation. */
  keepOutput(): void {
    appendFileSync(join(this.folder, "up.log"), this.millrace.output);
    this.millrace.output = "";
  }

  /**
   * Takes the power from all of it, and gives it back.
   *
   * The processes live some milliseconds longer than their disks, and ext4 tells a few of them a lie: an fsync that is
   * under way at the cut can return success although nothing was written (its transaction was given up, and looks
   * committed). A machine without power tells nobody anything, so nobody may act on it:
   *
   * - senders hear nothing from `atTheCut` on;
   * - Redis's disk goes first, since mail that the mail store says it has is freed there.
   *
   * @param atTheCut called immediately before the first disk is gone
   */
  async cutPower(atTheCut: () => void): Promise<void> {
    const { data, mail } = this.disks ?? {};
    if (!data || !mail) throw new Error("only an installation on disks of its own can lose its power");
    const [cutData, cutMail] = await Promise.all([data.readyToCut(), mail.readyToCut()]);
    atTheCut();
    await cutData();
    await cutMail();
    await this.killAll();
    await mail.unmount();
    await data.unmount();
    if (this.closed) return;
    await data.mount();
    await mail.mount();
  }

  /** Kills every process that belongs to this installation, at once. */
  async killAll(): Promise<void> {
    for (const pid of this.processes()) kill(pid);
    await this.millrace.down("SIGKILL");
    await this.untilNobody();
  }

  /** Pids of all processes that run in this installation's folder, however they came to be. */
  processes(): number[] {
    const isOurs = (pid: number) => {
      try {
        return `${readlinkSync(`/proc/${pid}/cwd`)}/`.startsWith(`${this.folder}/`);
      } catch {
        return false;
      }
    };
    return readdirSync("/proc")
      .filter((entry) => /^\d+$/.test(entry))
      .map(Number)
      .filter(isOurs);
  }

  /**
   * Sets the clock of all processes apart from the real one, which nobody touches.
   * @param seconds ahead of the real time, or behind it when negative
   */
  setClock(seconds: number): void {
    const next = `${this.clockFile}.next`;
    writeFileSync(next, `${seconds < 0 ? "" : "+"}${seconds}\n`);
    // In one step: a process that read half a line would see no time at all.
    renameSync(next, this.clockFile);
  }

  /** Ends all of it. With `keep` the folder stays, and so do the disks' images in it. */
  async close(keep = false): Promise<void> {
    this.closed = true;
    this.keepOutput();
    await this.millrace.down("SIGKILL");
    await this.killAll();
    await Promise.all([this.smtp.close(), this.webhook.close(), this.proxy?.close()]);
    await this.redis?.stop();
    await this.disks?.mail.unmount();
    await this.disks?.data.unmount();
    open.delete(this);
    if (!keep) await rm(this.folder, { recursive: true, force: true, maxRetries: 5 });
  }

  private async untilNobody(): Promise<void> {
    await until(() => {
      const left = this.processes();
      // One that was just being started was not there yet when the others were killed.
      for (const pid of left) kill(pid);
      return left.length === 0;
    }, endWithin);
  }
}

function kill(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch {
    // It has gone by itself.
  }
}

async function makeDisks(folder: string): Promise<{ data: Disk; mail: Disk }> {
  const data = await Disk.make(join(folder, "data.image"), join(folder, "var"));
  const mail = await Disk.make(join(folder, "mail.image"), join(folder, "mail-disk"));
  mkdirSync(join(mail.mountpoint, "store"));
  symlinkSync(join(mail.mountpoint, "store"), join(folder, "var/mail"));
  return { data, mail };
}

function routesTo(smtp: Sink, webhook: Sink) {
  const maildir = { maildir: "var/maildir/{recipient}" };
  // On a machine that is busy with eight rounds an answer may take its time; only a lost one is to be repeated.
  const hook = { webhook: webhook.url, allowPrivate: true, timeoutSeconds: 120 };
  return {
    hostname: "mx.test",
    routes: [
      { recipients: "*@maildir.test", to: maildir },
      { recipients: "*@smtp.test", to: { smtp: smtp.url } },
      { recipients: "*@hook.test", to: hook },
      { recipients: "*", to: [maildir, { smtp: smtp.url }, hook] },
    ],
  };
}
