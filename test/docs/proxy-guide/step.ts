import type { GuideMachine } from "./guide-machine.ts";

/** One script of the guide: how it is run, and what must have come of it. */
export interface Step {
  block: string;
  test: string;
  /** In a shell of the guide's `settings`. */
  settings?: true;
  /** Status it must end with; 0 without. */
  status?: number;
  /** Does not end by itself. */
  goesOn?: true;
  /** Instead of the script as it stands; a script of its own for one that cannot be run here, and why. */
  instead?: { why: string; script: (text: string) => string };
  skip?: string | false;
  /** Must have been done before, beside what the guide's reader does. */
  first?: (guide: GuideMachine) => string;
  /** Takes back what would be in the way of what follows. */
  undo?: string;
  /** @param said both streams in one */
  check?: (said: string, guide: GuideMachine) => void | Promise<void>;
}
