import type { Load, LoadOptions } from "./load.ts";
import type { Random } from "./random.ts";
import type { Shape, Site } from "./site.ts";

/** Where a round's damage is done. */
export interface Scene {
  site: Site;
  load: Load;
  random: Random;
  /** Tells what is done, for the round's line. */
  say(text: string): void;
}

/** One kind of trouble. */
export interface Kind {
  name: string;
  about: string;
  /** Default: "plain". */
  shape?: Shape;
  /** Whether it needs disks of its own, and so root. */
  disks?: true;
  /** Whether it may keep an answer from us: then a relay or a webhook may get the same delivery once more. */
  repeats: boolean;
  /** How the senders behave in such a round. */
  leaving?: LoadOptions["leaving"];
  /** Does the damage, under load. Resolves when whatever brings the installation back has been done. */
  strike(scene: Scene): Promise<void>;
  /** Puts right, once all is checked, what the next round must not find. */
  after?(site: Site): Promise<void>;
}
