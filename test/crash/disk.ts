import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, readFileSync, rmSync, statfsSync, truncateSync, writeFileSync } from "node:fs";
import { mkdtemp, open, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";

const exec = promisify(execFile);
// mkfs and xfs_io are where not every root's PATH leads.
const env = { ...process.env, PATH: `${process.env.PATH}:/usr/sbin:/sbin` };
// In a session of their own: Ctrl-C is for us, who have to clean up with these very programs.
const run = (...words: string[]) => exec("setsid", ["--wait", ...words], { env });

/** Octets of a disk. Its image is sparse: it takes no more than what is written. */
const size = 4 * 2 ** 30;
/** Milliseconds an unmount may take: the last process on the disk may still be dying. */
const patience = 20_000;
/** Milliseconds somebody else's mount namespace, begun while the disk was mounted, may keep a copy of the mount. */
const copyPatience = 240_000;

/** A file system of its own in a file, which can be full, and which can lose its power. Needs root. */
export class Disk {
  readonly mountpoint: string;
  private readonly image: string;
  private readonly filler: string;
  private mounted = false;

  private constructor(image: string, mountpoint: string) {
    this.image = image;
    this.mountpoint = mountpoint;
    this.filler = join(mountpoint, "filler");
  }

  static async make(image: string, mountpoint: string): Promise<Disk> {
    writeFileSync(image, "");
    truncateSync(image, size);
    // No blocks kept back for root: we are root, and full is to be full.
    await run("mkfs.ext4", "-q", "-m", "0", "-E", "lazy_itable_init=1,lazy_journal_init=1", image);
    mkdirSync(mountpoint, { recursive: true });
    const disk = new Disk(image, mountpoint);
    await disk.mount();
    return disk;
  }

  /** Mounts it; after a cut the file system plays its journal back, as at any start of a machine. */
  async mount(): Promise<void> {
    // What nobody has fsynced is to stay unwritten: by itself ext4 would commit its journal every 5 seconds.
    await run("mount", "-t", "ext4", "-o", "loop,commit=300", this.image, this.mountpoint);
    this.mounted = true;
  }

  /**
   * Gets ready to take the power away. The function it returns does so: from that instant on nothing is written any
   * more, neither what lies in the page cache nor what the journal has not been told to commit.
   */
  async readyToCut(): Promise<() => Promise<void>> {
    const xfsIo = spawn("xfs_io", ["-x", this.mountpoint], { env, detached: true, stdio: "pipe" });
    await once(xfsIo, "spawn");
    // A program that is only just starting would put the cut some milliseconds behind what its caller calls the instant.
    await sleep(100);
    return async () => {
      let said = "";
      for (const stream of [xfsIo.stdout, xfsIo.stderr])
        stream.on("data", (text: Buffer) => {
          said += text.toString();
        });
      // Without -f: with it, the journal would be flushed first.
      xfsIo.stdin.end("shutdown\nquit\n");
      const [status] = await once(xfsIo, "close");
      if (status !== 0 || said !== "")
        throw new Error(`no power cut at ${this.mountpoint}: ${status} ${said}`);
    };
  }

  async unmount(): Promise<void> {
    for (const deadline = Date.now() + patience; this.mounted; ) {
      try {
        await run("umount", this.mountpoint);
        this.mounted = false;
      } catch (error) {
        if (Date.now() > deadline) throw error;
        await sleep(50);
      }
    }
    // Only then it is gone: mounted again before, it would be the same file system, still without power.
    for (const deadline = Date.now() + copyPatience; await this.isHeld(); await sleep(100)) {
      if (Date.now() > deadline)
        throw new Error(`${this.mountpoint} is unmounted, and another mount namespace still holds it`);
    }
  }

  private async isHeld(): Promise<boolean> {
    return (await run("losetup", "--associated", this.image)).stdout !== "";
  }

  /** Takes all space that is left. */
  async fill(): Promise<void> {
    const { bavail, bsize } = statfsSync(this.mountpoint);
    let octets = 0;
    // The file system needs some blocks to note which ones it has given away.
    for (let step = bavail * bsize; step >= bsize; ) {
      try {
        await run("fallocate", "-o", String(octets), "-l", String(step), this.filler);
        octets += step;
      } catch {
        step = Math.floor(step / 2 / bsize) * bsize;
      }
    }
  }

  /** Gives back what {@link fill} has taken. */
  makeRoom(): void {
    rmSync(this.filler, { force: true });
  }
}

/**
 * Proves that the cut is one: a file that was fsynced must be there afterwards, one that was not must not.
 * @throws Error when this machine's cut would show nothing
 */
export async function probePowerCut(folder: string): Promise<void> {
  const place = await mkdtemp(join(folder, "mr-probe-"));
  const disk = await Disk.make(join(place, "image"), join(place, "disk"));
  try {
    const [synced, unsynced] = ["synced", "unsynced"].map((name) => join(disk.mountpoint, name)) as [
      string,
      string,
    ];
    const file = await open(synced, "w");
    await file.writeFile("kept");
    await file.sync();
    await file.close();
    await writeFile(unsynced, "lost");
    const cut = await disk.readyToCut();
    await cut();
    await disk.unmount();
    await disk.mount();
    if (contentOf(synced) !== "kept")
      throw new Error("after a power cut a file is gone that was fsynced: this cut takes too much");
    if (contentOf(unsynced) === "lost")
      throw new Error("after a power cut a file is there that was never fsynced: this cut takes nothing");
  } finally {
    await disk.unmount();
    await rm(place, { recursive: true, force: true });
  }
}

function contentOf(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return undefined;
  }
}
