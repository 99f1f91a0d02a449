import type { Kind } from "./kind.ts";
import { clockKinds } from "./kinds/clock.ts";
import { diskFullKinds } from "./kinds/disk-full.ts";
import { killKinds } from "./kinds/kill.ts";
import { lostReplies } from "./kinds/lost-replies.ts";
import { powerCut } from "./kinds/power-cut.ts";
import { redisKinds } from "./kinds/redis.ts";
import { senderKinds } from "./kinds/sender-leaves.ts";

/** All that the suite does to an installation. */
export const kinds: readonly Kind[] = [
  ...killKinds,
  powerCut,
  ...redisKinds,
  lostReplies,
  ...diskFullKinds,
  ...senderKinds,
  ...clockKinds,
];
