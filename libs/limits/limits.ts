import { once } from "node:events";
import { failFastRedis, type Settings } from "@millrace/service";
import { clientKey, userKey } from "./keys.ts";
import { openPlaces } from "./places.ts";
import { type RateCount, rateCount } from "./rate.ts";

/** What is limited. Logs and metrics have these names. */
export type LimitName =
  | "connections"
  | "connection_rate"
  | "client_messages"
  | "client_recipients"
  | "user_messages"
  | "user_recipients";

/**
 * The limit that is reached; undefined when none is. No promise where there is nobody to ask.
 * @throws Error (the promise) when Redis does not answer: it is the caller's to go on as if no limit were reached
 */
export type Asked = Promise<LimitName | undefined> | undefined;

/** Milliseconds Redis has to answer. Somebody waits, and a limit that was not asked is no harm. */
const answerWithin = 1_000;

export type LimitSettings = Pick<
  Settings,
  | "SMTP_LIMIT_CONNECTIONS_PER_CLIENT"
  | "SMTP_LIMIT_CONNECTIONS_PER_CLIENT_PER_MINUTE"
  | "SMTP_LIMIT_MESSAGES_PER_CLIENT"
  | "SMTP_LIMIT_RECIPIENTS_PER_CLIENT"
  | "SMTP_LIMIT_CLIENT_SECONDS"
  | "SMTP_LIMIT_MESSAGES_PER_USER"
  | "SMTP_LIMIT_RECIPIENTS_PER_USER"
  | "SMTP_LIMIT_USER_SECONDS"
>;

/** What clients and users may do, counted in Redis for all edges together; whatever is set to 0 is not counted. */
export interface Limits {
  /** A connection of this client. Unless a limit is told, `disconnected` must follow, when the answer has come. */
  connected(client: string, id: string): Asked;
  disconnected(client: string, id: string): void;
  /** A MAIL of this client, and of the user who has authenticated. */
  message(client: string, user: string | undefined): Asked;
  /** A RCPT. */
  recipient(client: string, user: string | undefined): Asked;
  /** Gives all places back. */
  close(): Promise<void>;
}

/** Opens the limits that are set, on a connection of their own; undefined when there are none. */
export async function openLimits(redisUrl: string, settings: LimitSettings): Promise<Limits | undefined> {
  const {
    SMTP_LIMIT_CONNECTIONS_PER_CLIENT: atOnce,
    SMTP_LIMIT_CONNECTIONS_PER_CLIENT_PER_MINUTE: connectionsPerMinute,
    SMTP_LIMIT_MESSAGES_PER_CLIENT: clientMessages,
    SMTP_LIMIT_RECIPIENTS_PER_CLIENT: clientRecipients,
    SMTP_LIMIT_CLIENT_SECONDS: clientSeconds,
    SMTP_LIMIT_MESSAGES_PER_USER: userMessages,
    SMTP_LIMIT_RECIPIENTS_PER_USER: userRecipients,
    SMTP_LIMIT_USER_SECONDS: userSeconds,
  } = settings;
  const all = [atOnce, connectionsPerMinute, clientMessages, clientRecipients, userMessages, userRecipients];
  if (all.every((limit) => limit === 0)) return undefined;

  const redis = failFastRedis(redisUrl, { commandTimeout: answerWithin });
  // One that is away is no reason not to start.
  await once(redis, "ready", { signal: AbortSignal.timeout(answerWithin) }).catch(() => {});
  const places = atOnce > 0 ? openPlaces(redis, "connections", atOnce) : undefined;
  const rate = (name: LimitName, times: number, seconds: number): NamedRate | undefined =>
    times > 0 ? { name, ...rateCount(redis, name, { times, seconds }) } : undefined;
  const perMinute = rate("connection_rate", connectionsPerMinute, 60);
  const messages = {
    ofClient: rate("client_messages", clientMessages, clientSeconds),
    ofUser: rate("user_messages", userMessages, userSeconds),
  };
  const recipients = {
    ofClient: rate("client_recipients", clientRecipients, clientSeconds),
    ofUser: rate("user_recipients", userRecipients, userSeconds),
  };

  return {
    connected(client, id) {
      const key = clientKey(client);
      const questions: Question[] = [];
      // An attempt is an attempt, whatever is said to it: of the rate nothing is given back.
      if (perMinute) questions.push({ name: perMinute.name, tooMany: perMinute.count(key), giveBack() {} });
      if (places) {
        const tooMany = places.take(key, id).then((taken) => !taken);
        questions.push({ name: "connections", tooMany, giveBack: () => places.release(key, id) });
      }
      return answer(questions);
    },
    disconnected: (client, id) => places?.release(clientKey(client), id),
    message: (client, user) => both(messages, client, user),
    recipient: (client, user) => both(recipients, client, user),
    async close() {
      await places?.close();
      redis.disconnect();
    },
  };
}

interface NamedRate extends RateCount {
  name: LimitName;
}

/** One that was put to Redis, or to what is remembered of its answers. */
interface Question {
  name: LimitName;
  tooMany: Promise<boolean>;
  giveBack(): void;
}

function both(
  { ofClient, ofUser }: { ofClient: NamedRate | undefined; ofUser: NamedRate | undefined },
  client: string,
  user: string | undefined,
): Asked {
  const questions: Question[] = [];
  const ask = (rate: NamedRate, key: string) =>
    questions.push({ name: rate.name, tooMany: rate.count(key), giveBack: () => rate.giveBack(key) });
  if (ofUser && user !== undefined) ask(ofUser, userKey(user));
  if (ofClient) ask(ofClient, clientKey(client));
  return answer(questions);
}

/**
 * The first limit that is reached. The questions left in one turn of the event loop, and so in one write to Redis. What
 * one limit refuses has not happened to the other: a user does not pay for the others of an address.
 */
function answer(questions: Question[]): Asked {
  if (questions.length === 0) return undefined;
  return Promise.allSettled(questions.map(({ tooMany }) => tooMany)).then((answers) => {
    const reached = questions.find((_, i) => answers[i]?.status === "fulfilled" && answers[i].value);
    if (reached) {
      for (const question of questions) if (question !== reached) question.giveBack();
      return reached.name;
    }
    const failed = answers.find((each) => each.status === "rejected");
    if (failed) throw failed.reason;
    return undefined;
  });
}
