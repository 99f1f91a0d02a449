import { setTimeout as sleep } from "node:timers/promises";
import type { Kind } from "../kind.ts";

/** Milliseconds during which senders hang up. */
const longEnough = 800;

const inData: Kind = {
  name: "sender-leaves-data",
  about: "every second sender hangs up at any octet of DATA",
  repeats: false,
  leaving: (random) =>
    random.chance(0.5) ? { afterOctets: random.integer(0, random.pick([200, 5_000, 150_000])) } : undefined,
  async strike({ say }) {
    say("senders hang up within DATA");
    await sleep(longEnough);
  },
};

const before250: Kind = {
  name: "sender-leaves-250",
  about: "every second sender hangs up between the final dot and the 250, up to 20 ms after the dot",
  repeats: false,
  leaving: (random) => (random.chance(0.5) ? { afterDot: random.integer(0, 20) } : undefined),
  async strike({ say }) {
    say("senders hang up before the 250");
    await sleep(longEnough);
  },
};

export const senderKinds: readonly Kind[] = [inData, before250];
