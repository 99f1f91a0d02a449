import {
  type Credentials,
  type Directory,
  type FailedAttempts,
  failedAttempts,
  openDirectory,
  type User,
} from "@millrace/auth";
import { type Config, failFastRedis, type Logger } from "@millrace/service";
import { type Refusal, refusals } from "./refusal.ts";
import { Turns } from "./turns.ts";

/** Attempts that may wait for their turn; who comes then is asked to come again. */
const waitingMax = 200;

/** What becomes of AUTH. */
export interface Authentication {
  /** Never throws: what cannot be asked is 454. */
  authenticate(attempt: Credentials): Promise<User | Refusal>;
  close(): Promise<void>;
}

/**
 * Opens the directory of users and the count of failed attempts, on a connection of their own that fails fast.
 * @throws StartError
 */
export async function openAuthentication(
  { redisUrl, auth, settings }: Pick<Config, "redisUrl" | "auth" | "settings">,
  log: Logger,
): Promise<Authentication> {
  const redis = failFastRedis(redisUrl);
  try {
    const directory = await openDirectory(auth, redis, log);
    const attempts = failedAttempts(redis, {
      perClient: settings.SMTP_AUTH_FAILURES_PER_CLIENT,
      perUser: settings.SMTP_AUTH_FAILURES_PER_USER,
      window: settings.SMTP_AUTH_FAILURES_SECONDS,
    });
    return {
      authenticate: authenticator(directory, attempts, log),
      async close() {
        await directory.close();
        redis.disconnect();
      },
    };
  } catch (error) {
    redis.disconnect();
    throw error;
  }
}

/**
 * Nothing is counted before it has failed, so that what is asked while Redis is away locks nobody out when it is back.
 * The count is looked at within the turn: of many attempts that come at once no more are made than the limit and the
 * turns of all edges.
 */
function authenticator(
  directory: Directory,
  attempts: FailedAttempts,
  log: Logger,
): Authentication["authenticate"] {
  const turns = new Turns(directory.atOnce);
  let waiting = 0;

  const verified = async ({ name, password, client }: Credentials): Promise<User | Refusal> => {
    const exceeded = await attempts.exceeded(client, name);
    if (exceeded) {
      log.info({ client, user: name, by: exceeded }, "too many failed authentications");
      return refusals.tooManyAttempts[exceeded];
    }
    const user = await directory.verify({ name, password, client });
    if (!user) {
      await attempts.failed(client, name);
      log.info({ client, user: name }, "authentication failed");
      return refusals.credentialsInvalid;
    }
    // Whoever has the right password is let in, even when an old count has to stay.
    await attempts
      .succeeded(name)
      .catch((error: Error) => log.warn({ err: error }, "failed attempts not forgotten"));
    log.info({ client, user: user.name }, "authenticated");
    return user;
  };

  return async (attempt) => {
    const { client, name } = attempt;
    try {
      if (waiting >= waitingMax) throw new Error(`${waiting} attempts are waiting already`);
      waiting++;
      await new Promise<void>((resolve) => turns.take(resolve)).finally(() => waiting--);
      return await verified(attempt).finally(() => turns.done());
    } catch (error) {
      log.warn({ client, user: name, err: error }, "nobody could be authenticated");
      return refusals.authenticationUnavailable;
    }
  };
}
