import type { Route } from "@millrace/mail";
import { makeSample, type SampleMail, samples } from "@millrace/pipeline/samples";
import { CommandError, print, printJson, table } from "../terminal.ts";

/** Prints the sample mails, each with a sentence. */
export async function listFixtures(json: boolean): Promise<void> {
  if (json) return printJson(samples.map(({ name, about, from }) => ({ name, about, from })));
  await print(
    table(
      ["fixture", "what it is"],
      samples.map(({ name, about }) => [name, about]),
    ),
  );
}

/** Makes one of them. @throws CommandError that names those there are */
export function fixture(name: string, to: readonly string[], from: string | undefined): SampleMail {
  const made = makeSample(name.replace(/\.eml$/, ""), { to, ...(from === undefined ? {} : { from }) });
  if (made) return made;
  const names = samples.map((each) => each.name).join(", ");
  throw new CommandError(`there is no fixture ${JSON.stringify(name)}: those there are: ${names}`, 2);
}

/** An address that the first route takes: `*@in.example.com` is met by test@in.example.com. */
export function recipientFor(routes: readonly Route[]): string {
  const pattern = routes[0]?.recipients[0] ?? "*";
  return pattern === "*" ? "test@example.com" : pattern.replaceAll("*", "test");
}
