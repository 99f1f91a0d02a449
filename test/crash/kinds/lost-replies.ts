import { setTimeout as sleep } from "node:timers/promises";
import type { Kind } from "../kind.ts";

export const lostReplies: Kind = {
  name: "lost-replies",
  about:
    "a proxy before Redis loses answers, from any octet on, and then resets every connection; up to four times",
  shape: "proxied",
  repeats: true,
  async strike({ site, random, say }) {
    const times = random.integer(1, 4);
    for (let i = 0; i < times; i++) {
      const octets = () => random.integer(0, 2_000);
      if (random.chance(0.7)) say(`answers lost on ${site.proxy?.loseReplies(octets)} connections`);
      else say(`commands cut on ${site.proxy?.cutRequests(octets)} connections`);
      await sleep(random.integer(200, 1_200));
    }
  },
};
