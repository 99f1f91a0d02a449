import { fileURLToPath } from "node:url";

/**
 * Path of a service's main file, in a workspace (TypeScript) as in an installation (JavaScript): its package says
 * which. Services are programs that the command starts, and never modules that it imports.
 */
export function mainFile(service: string): string {
  return fileURLToPath(import.meta.resolve(`@millrace/${service}`));
}
