import { setTimeout as sleep } from "node:timers/promises";
import type { Kind } from "../kind.ts";

/** Seconds the clock jumps by: from what a time server corrects to a wrong date. */
function jumpOf(random: Parameters<Kind["strike"]>[0]["random"]): number {
  return random.pick([
    random.integer(2, 120),
    random.integer(120, 7_200),
    random.integer(86_400, 400 * 86_400),
  ]);
}

function clockJump(name: string, direction: 1 | -1, about: string): Kind {
  return {
    name,
    about,
    shape: "clock",
    repeats: true,
    async strike({ site, random, say }) {
      const seconds = direction * jumpOf(random);
      say(`clock set ${seconds > 0 ? "+" : ""}${seconds} s`);
      site.setClock(seconds);
      await sleep(500);
    },
    async after(site) {
      site.setClock(0);
    },
  };
}

export const clockKinds: readonly Kind[] = [
  clockJump(
    "clock-forward",
    1,
    "the clock of all processes jumps forward, by seconds up to a year, and stays there",
  ),
  clockJump(
    "clock-backward",
    -1,
    "the clock of all processes jumps back, by seconds up to a year, and stays there",
  ),
];
