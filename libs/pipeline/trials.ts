/**
 * Jobs whose process died are suspects: one of them may have killed it, and all others that were in hand then had no
 * part in it. They are tried in groups that get smaller with every death, down to one at a time, so that soon only
 * the culprit dies alone, and nobody else is held guilty.
 */
const groupSizes = [32, 4, 1] as const;

/** How many suspects may be tried together with one that has died so many trials. */
function groupSize(deaths: number): number {
  return groupSizes[Math.min(deaths, groupSizes.length - 1)] as number;
}

/** The suspects that one process tries at this time. */
export class Trials {
  private readonly running: number[] = [];

  /**
   * Begins a trial.
   * @param deaths trials of this job that its process did not survive
   * @returns a function that ends it; undefined when there is no room now
   */
  begin(deaths: number): (() => void) | undefined {
    const room = Math.min(groupSize(deaths), ...this.running.map(groupSize));
    if (this.running.length >= room) return undefined;
    this.running.push(deaths);
    return () => {
      this.running.splice(this.running.indexOf(deaths), 1);
    };
  }
}
