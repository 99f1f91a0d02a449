export function caddyFolder(env: NodeJS.ProcessEnv): string;
export function installCaddy(
  env: NodeJS.ProcessEnv,
  installGo: () => void,
  say: (line: string) => void,
): string | undefined;
export function debiansGoWillDo(env: NodeJS.ProcessEnv): boolean;
