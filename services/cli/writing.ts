import { existsSync } from "node:fs";
import { type MailStore, openMailStore } from "@millrace/mailstore";
import type { Pipeline } from "@millrace/pipeline/runtime";
import { type Config, loadConfig } from "@millrace/service";
import { CommandError } from "./terminal.ts";
import { withPipeline } from "./working.ts";

/** What the commands hold that take mail away: Redis, and the mail store opened for writing. */
export interface Writing extends Pick<Pipeline, "redis" | "spool" | "journal" | "queues"> {
  config: Config;
  mailstore: MailStore;
}

/** Opens both for the time of one command. @throws CommandError when one of them is not there */
export async function withWriting<T>(use: (writing: Writing) => Promise<T>): Promise<T> {
  const { paths } = await loadConfig();
  // Opening it for writing would make one, and say that there was nothing.
  if (!existsSync(paths.mail)) {
    throw new CommandError(
      `there is no mail store in ${paths.mail}: run this where \`millrace up\` runs, or set MILLRACE_DATA_DIR`,
    );
  }
  // Without Redis nobody could tell which messages are in flight.
  return withPipeline(async ({ config, pipeline }) => {
    const mailstore = openMailStore({ directory: paths.mail });
    try {
      const { redis, spool, journal, queues } = pipeline;
      return await use({ config, mailstore, redis, spool, journal, queues });
    } finally {
      mailstore.close();
    }
  });
}
