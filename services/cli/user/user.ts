import { hashPassword, redisUsers, reversePathSchema, type Users, userNameSchema } from "@millrace/auth";
import { failFastRedis, loadConfig } from "@millrace/service";
import { type Command, InvalidArgumentError } from "commander";
import { CommandError, print, printJson, table } from "../terminal.ts";
import { confirmed } from "../working.ts";
import { readPassword } from "./read-password.ts";

interface AddOptions {
  reversePath: string[];
}

interface PathsOptions extends AddOptions {
  any?: boolean;
}

export function addUserCommand(program: Command): void {
  const user = program
    .command("user")
    .description("who may authenticate at the edges, and send mail to any address when there is a relay");
  user
    .command("add")
    .description("a new one; the password is asked for, or read from standard input")
    .argument("<name>", "without regard to case", nameOf)
    .option(
      "--reverse-path <pattern>",
      "allowed in MAIL FROM: an address, *@example.com, or <> for the null one; may be given several times. Without it: any",
      patterns,
      [],
    )
    .action((name: string, options: AddOptions) => withUsers((users) => add(users, name, options)));
  user
    .command("passwd")
    .description("another password; it is asked for, or read from standard input")
    .argument("<name>", "as in list", nameOf)
    .action((name: string) => withUsers((users) => passwd(users, name)));
  user
    .command("paths")
    .description("other reverse-paths, in place of those there are; open sessions keep theirs")
    .argument("<name>", "as in list", nameOf)
    .option("--reverse-path <pattern>", "as with add", patterns, [])
    .option("--any", "any address")
    .action((name: string, options: PathsOptions) => withUsers((users) => paths(users, name, options)));
  user
    .command("remove")
    .description("one who may not any more; sessions that are open go on")
    .argument("<name>", "as in list", nameOf)
    .option("-y, --yes", "don't ask")
    .action((name: string, options: { yes?: boolean }) =>
      withUsers((users) => remove(users, name, options.yes)),
    );
  user
    .command("list")
    .description("all of them, by name")
    .option("--json", "as JSON")
    .action((options: { json?: boolean }) => withUsers((users) => list(users, options.json ?? false)));
  user
    .command("hash")
    .description("print a line for the file of `auth: { file }`; nothing is kept")
    .argument("<name>", "without regard to case", nameOf)
    .option("--reverse-path <pattern>", "as with add", patterns, [])
    .action(hash);
}

/** @throws CommandError when no Redis answers, or other users than those in it may authenticate */
async function withUsers(use: (users: Users) => Promise<void>): Promise<void> {
  const { auth, redisUrl } = await loadConfig();
  if (auth) {
    const where = "file" in auth ? `in ${auth.file} (\`millrace user hash\` makes a line for it)` : auth.http;
    throw new CommandError(
      `the configuration says \`auth\`: users are kept ${"file" in auth ? "" : "by "}${where}, and not here; leave it out to keep them in Redis`,
    );
  }
  const redis = failFastRedis(redisUrl, { lazyConnect: true, retryStrategy: () => null });
  await redis.connect().catch((error: Error) => {
    throw new CommandError(
      `no Redis answers (${error.message}); start one with \`millrace up\`, or set REDIS_URL`,
      69,
    );
  });
  try {
    await use(redisUsers(redis));
  } finally {
    redis.disconnect();
  }
}

async function add(users: Users, name: string, { reversePath }: AddOptions): Promise<void> {
  if ((await users.list()).some((user) => user.name === name)) throw thereIsOne(name);
  const password = await readPassword(name);
  if (!(await users.add({ name, reversePaths: reversePath }, password))) throw thereIsOne(name);
  const { settings, relay } = await loadConfig();
  await print(`added ${name}\n`);
  if (!settings.SMTP_ENABLE_AUTH)
    process.stderr.write("millrace: edges do not offer AUTH: set SMTP_ENABLE_AUTH=true for them\n");
  if (!relay)
    process.stderr.write(
      "millrace: without `relay` in the configuration, users send where the routes lead, and nowhere else\n",
    );
}

function thereIsOne(name: string): CommandError {
  return new CommandError(
    `there is a user ${name} already; \`millrace user passwd ${name}\` changes the password`,
  );
}

function thereIsNone(name: string): CommandError {
  return new CommandError(`there is no user ${name}; \`millrace user list\` shows those there are`);
}

async function passwd(users: Users, name: string): Promise<void> {
  if (!(await users.list()).some((user) => user.name === name)) throw thereIsNone(name);
  if (!(await users.setPassword(name, await readPassword(name)))) throw thereIsNone(name);
  await print(`changed the password of ${name}\n`);
}

async function paths(users: Users, name: string, { reversePath, any }: PathsOptions): Promise<void> {
  // Nothing given must not come to mean that everything is allowed.
  if (any ? reversePath.length > 0 : reversePath.length === 0) {
    throw new CommandError(
      "give either --reverse-path <pattern>, once or several times, or --any for any address",
      2,
    );
  }
  if (!(await users.setReversePaths(name, reversePath))) throw thereIsNone(name);
  await print(`${name} may send from ${reversePath.join(", ") || "any address"}\n`);
}

async function remove(users: Users, name: string, yes: boolean | undefined): Promise<void> {
  if (!(await confirmed(`Remove ${name}?`, yes))) throw new CommandError("nothing was removed");
  if (!(await users.remove(name))) throw thereIsNone(name);
  await print(`removed ${name}\n`);
}

async function list(users: Users, json: boolean): Promise<void> {
  const all = (await users.list()).map(({ name, reversePaths, createdAt, passwordAt }) => ({
    name,
    reversePaths,
    createdAt: new Date(createdAt).toISOString(),
    passwordAt: new Date(passwordAt).toISOString(),
  }));
  if (json) return printJson(all);
  if (all.length === 0) return print("there are no users; `millrace user add <name>` makes one\n");
  await print(
    table(
      ["name", "added", "password of", "may send from"],
      all.map(({ name, reversePaths, createdAt, passwordAt }) => [
        ...[name, createdAt.slice(0, 10), passwordAt.slice(0, 10)],
        reversePaths.join(", ") || "any address",
      ]),
    ),
  );
}

async function hash(name: string, { reversePath }: AddOptions): Promise<void> {
  const line = `${name}:${await hashPassword(await readPassword(name))}`;
  await print(`${[line, ...(reversePath.length > 0 ? [reversePath.join(",")] : [])].join(":")}\n`);
}

function nameOf(text: string): string {
  const name = userNameSchema.safeParse(text);
  if (name.success) return name.data;
  throw new InvalidArgumentError(name.error.issues[0]?.message ?? "");
}

function patterns(text: string, before: string[]): string[] {
  const pattern = reversePathSchema.safeParse(text);
  if (pattern.success) return [...before, pattern.data];
  throw new InvalidArgumentError(pattern.error.issues[0]?.message ?? "");
}
