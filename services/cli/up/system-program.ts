import { existsSync } from "node:fs";
import { delimiter, join } from "node:path";
import { childEnvironment, StartError } from "@millrace/service";
import { installTools, missingTools, type Tool } from "../system-packages.mjs";

/** Where Debian keeps servers, and whoever builds them oneself. */
const usual = ["/usr/bin", "/usr/sbin", "/sbin", "/usr/local/bin", "/usr/local/sbin"];

/**
 * Path of a program that npm does not bring; as root it is installed when it is not there, or not all of it.
 *
 * @param programs any of which will do
 * @param otherwise what one may do instead
 * @throws StartError that says what to run
 */
export function systemProgram(
  tool: Tool,
  programs: readonly string[],
  say: (text: string) => void,
  otherwise: string,
): string {
  const own = childEnvironment();
  const folders = [...(own.PATH ?? "").split(delimiter).filter(Boolean), ...usual];
  const env = { ...own, PATH: folders.join(delimiter) };
  const find = () =>
    folders
      .flatMap((folder) => programs.map((program) => join(folder, program)))
      .find((path) => existsSync(path));
  const { missing, cure, problem } = installTools(find() ? missingTools([tool], env) : [tool], env, say);
  const found = find();
  if (found && missing.length === 0) return found;
  if (problem) process.stderr.write(problem);
  const what = found ? `${found} is there, but not all it needs` : `no ${programs[0]} is installed`;
  throw new StartError(`${what}: run ${cure}, or ${otherwise}`);
}
