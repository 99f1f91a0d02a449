import { setTimeout as sleep } from "node:timers/promises";
import type { Kind } from "../kind.ts";
import { rewriteLog } from "./rewrite-log.ts";

export const powerCut: Kind = {
  name: "power-cut",
  about:
    "the file systems under Redis, Maildirs and mail store lose what was not fsynced, and all processes die",
  disks: true,
  repeats: true,
  async strike(scene) {
    const { site, load, random, say } = scene;
    if (random.chance(0.5)) {
      // A worker that stands still leaves mail where only Redis has it.
      const worker = random.pick(["parse", "store"]);
      say(`${worker} stopped`);
      process.kill(site.millrace.pidOf(worker), "SIGSTOP");
      await sleep(random.integer(100, 1_000));
    }
    await rewriteLog(scene);
    say("power cut");
    await site.cutPower(() => load.cutWire());
    load.mendWire();
    const pause = random.integer(0, 300);
    await sleep(pause);
    await site.up();
    say("up again");
  },
};
