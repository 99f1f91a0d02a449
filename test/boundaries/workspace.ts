import { globSync, readFileSync } from "node:fs";
import { dirname, join, relative, resolve, sep } from "node:path";
import type { Node, SourceFile } from "typescript/unstable/ast";
import {
  isBindingElement,
  isElementAccessExpression,
  isIdentifier,
  isImportDeclaration,
  isImportSpecifier,
  isObjectBindingPattern,
  isPropertyAccessExpression,
  isStringLiteral,
  isVariableDeclaration,
} from "typescript/unstable/ast/is";
import { API } from "typescript/unstable/sync";

/** A project of the workspace: a folder with a package.json. */
export interface Project {
  name: string;
  /** Folder, from the workspace's root, with `/`. */
  root: string;
  dependencies: ReadonlySet<string>;
  devDependencies: ReadonlySet<string>;
  /** What others may import of it, such as `@millrace/spool`. */
  entries: ReadonlySet<string>;
}

export interface Import {
  /** As it is written, such as `./keys.ts` or `zod`. */
  specifier: string;
  line: number;
  /** Whether it is gone at run time: `import type …`. */
  typeOnly: boolean;
}

export interface SourceModule {
  /** From the workspace's root, with `/`. */
  path: string;
  project: Project;
  imports: Import[];
  /** Lines which read the environment. */
  environmentLines: number[];
}

export interface Workspace {
  projects: Project[];
  modules: SourceModule[];
}

/**
 * Reads projects and sources. TypeScript parses them, so that an import counts as what the compiler takes for one,
 * type-only and dynamic ones too. The API it offers for that is marked unstable; the version is pinned.
 *
 * @param root folder with a tsconfig.json that includes every source
 */
export function readWorkspace(root: string): Workspace {
  const projects = globSync(["libs/*/package.json", "services/*/package.json", "test/package.json"], {
    cwd: root,
  })
    .map((file) => readProject(root, file))
    .sort((a, b) => a.name.localeCompare(b.name));
  const api = new API({ cwd: root });
  try {
    const config = join(root, "tsconfig.json");
    const snapshot = api.updateSnapshot({ openProjects: [config] });
    const program = snapshot.getProject(config)?.program;
    if (!program) throw new Error(`${config} is not a TypeScript project`);
    const modules: SourceModule[] = [];
    for (const file of program.getSourceFileNames()) {
      const path = portable(relative(root, file));
      const project = projects.find((each) => path.startsWith(`${each.root}/`));
      const source = path.includes("node_modules/") ? undefined : program.getSourceFile(file);
      if (project && source) modules.push({ path, project, ...readSource(source) });
    }
    return { projects, modules };
  } finally {
    api.close();
  }
}

function readProject(root: string, file: string): Project {
  const content = JSON.parse(readFileSync(join(root, file), "utf8")) as {
    name: string;
    exports?: string | Record<string, unknown>;
    dependencies?: Record<string, string>;
    devDependencies?: Record<string, string>;
  };
  const subpaths = typeof content.exports === "object" ? Object.keys(content.exports) : ["."];
  return {
    name: content.name,
    root: portable(dirname(file)),
    dependencies: new Set(Object.keys(content.dependencies ?? {})),
    devDependencies: new Set(Object.keys(content.devDependencies ?? {})),
    entries: new Set(subpaths.map((subpath) => content.name + subpath.slice(1))),
  };
}

function readSource(source: SourceFile): Pick<SourceModule, "imports" | "environmentLines"> {
  const lineOf = (node: Node) => source.getLineAndCharacterOfPosition(node.getStart(source)).line + 1;
  const imports = source.imports.filter(isStringLiteral).map((literal) => {
    const statement = literal.parent;
    const typeOnly =
      isImportDeclaration(statement) && source.text.startsWith("import type", statement.getStart(source));
    return { specifier: literal.text, line: lineOf(literal), typeOnly };
  });
  const environmentLines: number[] = [];
  const visit = (node: Node): void => {
    if (readsEnvironment(node)) environmentLines.push(lineOf(node));
    node.forEachChild(visit);
  };
  visit(source);
  return { imports, environmentLines };
}

/** `process.env`, `process["env"]`, `const { env } = process`, `import { env } from "node:process"`. */
function readsEnvironment(node: Node): boolean {
  if (isPropertyAccessExpression(node)) return isProcess(node.expression) && node.name.text === "env";
  if (isElementAccessExpression(node)) {
    const key = node.argumentExpression;
    return isProcess(node.expression) && isStringLiteral(key) && key.text === "env";
  }
  if (isBindingElement(node)) {
    const declaration = node.parent.parent;
    return (
      isObjectBindingPattern(node.parent) &&
      isVariableDeclaration(declaration) &&
      isProcess(declaration.initializer) &&
      nameOf(node.propertyName ?? node.name) === "env"
    );
  }
  if (isImportSpecifier(node)) {
    const from = node.parent.parent.parent;
    const module =
      isImportDeclaration(from) && isStringLiteral(from.moduleSpecifier) ? from.moduleSpecifier.text : "";
    return /^(node:)?process$/.test(module) && nameOf(node.propertyName ?? node.name) === "env";
  }
  return false;
}

function isProcess(node: Node | undefined): boolean {
  if (!node) return false;
  if (isPropertyAccessExpression(node))
    return nameOf(node.expression) === "globalThis" && node.name.text === "process";
  return nameOf(node) === "process";
}

function nameOf(node: Node | undefined): string | undefined {
  return node && isIdentifier(node) ? node.text : undefined;
}

/** The file a relative import names, from the workspace's root. */
export function resolveRelative(from: string, specifier: string): string {
  return portable(relative(resolve("/"), resolve("/", dirname(from), specifier)));
}

function portable(path: string): string {
  return path.split(sep).join("/");
}
