/**
 * Whether this process is the service that a module in this folder is to break. Each is loaded by NODE_OPTIONS into
 * every process of an installation, as `--import=file:///…/without-fsync.ts?store`.
 */
export function inService(moduleUrl: string): boolean {
  const service = new URL(moduleUrl).search.slice(1);
  return process.argv[1]?.endsWith(`/services/${service}/main.ts`) ?? false;
}
