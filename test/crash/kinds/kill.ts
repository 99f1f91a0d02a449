import { setTimeout as sleep } from "node:timers/promises";
import { until } from "../../support/until.ts";
import type { Kind, Scene } from "../kind.ts";
import { rewriteLog } from "./rewrite-log.ts";

const services = ["edge", "parse", "store", "deliver"] as const;

/** Kills a process and waits until its supervisor has another one in its place. */
async function kill({ site, say }: Scene, name: string): Promise<void> {
  say(`${name} killed`);
  await site.millrace.killAndAwaitSuccessor(name);
}

function killOf(name: string, repeats: boolean): Kind {
  return {
    name: `kill-${name}`,
    about: `kill -9 of ${name}`,
    repeats,
    strike: (scene) => kill(scene, name),
  };
}

const killRedis: Kind = {
  ...killOf("redis", true),
  async strike(scene) {
    await rewriteLog(scene);
    await kill(scene, "redis");
  },
};

const killTwo: Kind = {
  name: "kill-two",
  about: "kill -9 of any two of edge, parse, store, deliver and Redis, up to 300 ms apart",
  repeats: true,
  async strike(scene) {
    const [first, second] = scene.random.shuffled([...services, "redis"]) as [string, string];
    const apart = scene.random.chance(0.5) ? 0 : scene.random.integer(1, 300);
    await Promise.all([kill(scene, first), sleep(apart).then(() => kill(scene, second))]);
  },
};

const killSupervisor: Kind = {
  name: "kill-supervisor",
  about:
    "kill -9 of `millrace up`, in every other round while it starts a service again; another one up to 1.5 s later",
  repeats: true,
  async strike({ site, random, say }) {
    if (random.chance(0.5)) {
      // One that is only just being started has not learnt yet to watch its supervisor.
      const service = random.pick(services);
      process.kill(site.millrace.pidOf(service), "SIGKILL");
      say(`${service} killed`);
      await sleep(random.integer(0, 1_000));
    }
    const left = site.processes();
    await site.millrace.down("SIGKILL");
    const pause = random.integer(0, 1_500);
    say(`up killed, the next one ${pause} ms later`);
    await sleep(pause);
    const redis = site.millrace.pidOf("redis");
    await site.up();
    // Those who have lost their supervisor must finish and go: two installations would be one too many.
    await until(() => {
      const now = site.processes();
      return left.every((pid) => pid === redis || !now.includes(pid));
    }, 60_000);
  },
};

/** Only deliver, and Redis with it, may lose what a target has answered. */
export const killKinds: readonly Kind[] = [
  killOf("edge", false),
  killOf("parse", false),
  killOf("store", false),
  killOf("deliver", true),
  killRedis,
  killTwo,
  killSupervisor,
];
