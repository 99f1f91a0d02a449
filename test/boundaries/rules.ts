import { isBuiltin } from "node:module";
import {
  type Import,
  type Project,
  resolveRelative,
  type SourceModule,
  type Workspace,
} from "./workspace.ts";

/** What the libs may import of ours. Services may import every lib, and `test` everything that has an entry. */
const libsBelow: Record<string, readonly string[]> = {
  "libs/mail": [],
  "libs/mime": ["libs/mail"],
  "libs/spool": ["libs/mail"],
  "libs/mailstore": ["libs/mail"],
  "libs/service": ["libs/mail"],
  "libs/webhook": [],
  "libs/limits": ["libs/service"],
  "libs/auth": ["libs/mail", "libs/service", "libs/webhook", "libs/limits"],
  "libs/pipeline": ["libs/mail", "libs/mime", "libs/spool", "libs/mailstore", "libs/service"],
};

/** Packages that one project alone may import, so that the others do not depend on how it does its work. */
const soleImporters: Record<string, { project: string; testsToo: boolean }> = {
  bullmq: { project: "libs/pipeline", testsToo: false },
  "smtp-server": { project: "services/edge", testsToo: true },
};

const environmentReader = "libs/service";
const examples = "services/examples";

/** Everything in the sources that the architecture forbids, each as `file:line: what`. */
export function importViolations({ projects, modules }: Workspace): string[] {
  const found: string[] = [];
  for (const module of modules) {
    for (const each of module.imports) {
      const problem = /^\.\.?\//.test(each.specifier)
        ? leavesProject(module, each)
        : packageProblem(projects, module, each);
      if (problem) found.push(`${module.path}:${each.line}: ${problem}`);
    }
    if (module.project.root !== environmentReader && !isTest(module)) {
      for (const line of module.environmentLines)
        found.push(`${module.path}:${line}: reads process.env; only ${environmentReader} does`);
    }
  }
  return [...found, ...circularImports(modules)];
}

/** The same for the edges between projects, which Nx takes from their package.json. */
export function graphViolations(edges: readonly { from: string; to: string; dev: boolean }[]): string[] {
  return edges
    .filter(({ from, to, dev }) => !mayDepend(from, to) && !(dev && to === "test"))
    .map(({ from, to }) => `${from} must not depend on ${to}`);
}

function mayDepend(from: string, to: string): boolean {
  if (from === "test" || from === to) return true;
  // They show what can be done with the SDK alone.
  if (from === examples) return to === "libs/pipeline";
  if (from.startsWith("libs/")) return libsBelow[from]?.includes(to) ?? false;
  return to.startsWith("libs/");
}

function leavesProject(module: SourceModule, { specifier }: Import): string | undefined {
  const inside = resolveRelative(module.path, specifier).startsWith(`${module.project.root}/`);
  return inside ? undefined : `imports ${specifier}, outside ${module.project.root}; use the other's entry`;
}

function packageProblem(
  projects: Project[],
  module: SourceModule,
  { specifier, typeOnly }: Import,
): string | undefined {
  if (isBuiltin(specifier)) return undefined;
  const { project } = module;
  const words = specifier.split("/");
  const name = words.slice(0, specifier.startsWith("@") ? 2 : 1).join("/");
  const forTests = isTest(module);

  const target = projects.find((each) => each.name === name);
  if (target && !target.entries.has(specifier)) return `imports ${specifier}, past the entry of ${name}`;
  if (project.root === examples && target && target.root !== examples && !forTests && name !== specifier)
    return `imports ${specifier}; ${examples} has the SDK alone, ${name}`;
  if (target && !mayDepend(project.root, target.root) && !(forTests && target.root === "test"))
    return `imports ${name}; ${project.root} must not depend on ${target.root}`;

  const sole = soleImporters[name];
  if (sole && project.root !== sole.project && !(sole.testsToo && forTests))
    return `imports ${name}; only ${sole.project} does`;

  const declared =
    name === project.name ||
    project.dependencies.has(name) ||
    ((forTests || typeOnly) && project.devDependencies.has(name));
  return declared ? undefined : `imports ${name}, which ${project.root}/package.json does not declare`;
}

/** Test files, and what only they use. */
function isTest({ path, project }: SourceModule): boolean {
  return project.root === "test" || path.endsWith(".test.ts") || path.includes("/testing/");
}

/** Each circle of files once, from its first file in the alphabet. Type-only imports count: they bind as well. */
function circularImports(modules: SourceModule[]): string[] {
  const next = new Map(
    modules.map(({ path, imports }) => [
      path,
      imports
        .filter((each) => each.specifier.startsWith("."))
        .map((each) => resolveRelative(path, each.specifier)),
    ]),
  );
  const found: string[] = [];
  const done = new Set<string>();
  const visit = (path: string, trail: string[]): void => {
    const at = trail.indexOf(path);
    if (at !== -1) found.push(`${[...trail.slice(at), path].join(" -> ")}: circular import`);
    if (at !== -1 || done.has(path)) return;
    for (const each of next.get(path) ?? []) visit(each, [...trail, path]);
    done.add(path);
  };
  for (const path of [...next.keys()].sort()) visit(path, []);
  return found;
}
