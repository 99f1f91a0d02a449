import type { Decision, PolicyFallback, PolicyStage, PolicyTransaction } from "@millrace/pipeline";

/** Somebody of the configuration's `policies` who is asked: a policy in their process, or one behind HTTP. */
export interface Judge {
  /** For the log. */
  name: string;
  on: readonly PolicyStage[];
  /** Milliseconds within which `ask` settles. */
  timeout: number;
  onError: PolicyFallback;
  /** @throws Error when there is no decision, or none in time */
  ask(transaction: PolicyTransaction): Promise<Decision>;
  close?(): Promise<void>;
}
