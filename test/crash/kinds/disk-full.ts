import { setTimeout as sleep } from "node:timers/promises";
import type { Kind } from "../kind.ts";

function fullDisk(name: string, which: "data" | "mail", about: string): Kind {
  return {
    name,
    about,
    disks: true,
    repeats: true,
    async strike({ site, random, say }) {
      const disk = site.disks?.[which];
      if (!disk) throw new Error("there is no disk to fill");
      const duration = random.integer(1_000, 4_000);
      say(`disk full for ${duration} ms`);
      try {
        await disk.fill();
        await sleep(duration);
      } finally {
        disk.makeRoom();
      }
    },
  };
}

export const diskFullKinds: readonly Kind[] = [
  fullDisk("disk-full-mail", "mail", "no space on the mail store's disk for 1 to 4 s (ENOSPC)"),
  fullDisk(
    "disk-full-redis",
    "data",
    "no space on the disk of Redis's AOF and the Maildirs for 1 to 4 s (ENOSPC)",
  ),
];
