/** How a check has ended. */
export const statuses = ["ok", "warning", "failure", "skipped"] as const;
export type Status = (typeof statuses)[number];

/** What one check has found. */
export interface Finding {
  check: string;
  status: Status;
  /** What was seen, or why nothing could be. */
  seen: string;
  /** What to change, for everything that is not as it should be. */
  cure?: string;
  /** What was measured, by names that tell the unit. */
  figures?: Record<string, number>;
}

/** Findings about one thing: a port, Redis, this machine. */
export interface Section {
  about: string;
  findings: Finding[];
}

export const ok = (check: string, seen: string, figures?: Finding["figures"]): Finding => ({
  check,
  status: "ok",
  seen,
  ...(figures && { figures }),
});

export const skipped = (check: string, seen: string, cure?: string): Finding => ({
  check,
  status: "skipped",
  seen,
  ...(cure && { cure }),
});

export const warning = (
  check: string,
  seen: string,
  cure: string,
  figures?: Finding["figures"],
): Finding => ({
  check,
  status: "warning",
  seen,
  cure,
  ...(figures && { figures }),
});

export const failure = (check: string, seen: string, cure: string): Finding => ({
  check,
  status: "failure",
  seen,
  cure,
});
