/** A program that Millrace itself runs. */
export type Tool = "redis" | "haproxy" | "nginx" | "openssl";

export function missingTools(names: readonly Tool[], env: NodeJS.ProcessEnv): Tool[];

export function installTools(
  missing: readonly Tool[],
  env: NodeJS.ProcessEnv,
  say: (line: string) => void,
): { missing: Tool[]; cure: string; problem?: string };
