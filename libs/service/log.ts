import { type DestinationStream, type Logger, pino } from "pino";

export type { Logger };

/**
 * The logger of one process: JSON lines on standard error, one past-tense word each, the message's id under
 * `message`. Values whose key names a secret are replaced.
 */
export function createLogger(name: string, level: string, destination?: DestinationStream): Logger {
  return pino(
    {
      name,
      level,
      base: { name, pid: process.pid },
      redact: {
        paths: ["password", "secret", "*.password", "*.secret", "headers.authorization", "auth"],
        censor: "***",
      },
      // An object's `err` keeps its stack; a message's own text can hold anything and is only ever JSON.
      timestamp: pino.stdTimeFunctions.isoTime,
    },
    destination ?? pino.destination({ fd: 2, sync: false }),
  );
}
