import { choice, flag, integer, optionalChoice, type Setting, text } from "./setting.ts";
import { tlsModes } from "./tls-modes.ts";

/** How much of something there may be; 0, the default, for no limit. */
const limit = ({ about }: { about: string }) => integer({ about, default: 0, min: 0, max: 1_000_000_000 });

/**
 * Every scalar of the configuration, by the name of its environment variable. The README's table is made
 * from this object, and a test fails when the two differ.
 */
export const settings = {
  MILLRACE_CONFIG: text({
    about:
      "Configuration file (YAML, JSON or TypeScript). Default: `millrace.config.{ts,yaml,yml,json}` in the working folder, if there is one.",
  }),
  MILLRACE_DATA_DIR: text({
    about:
      "Folder of everything that is kept: Redis's files, the mail store, Maildirs. Where there is no `./var`, and `millrace dev` has run: `./.millrace`.",
    default: "./var",
  }),
  REDIS_URL: text({
    about:
      "Redis to use (`redis://`, `rediss://` or `unix:///path`). Unset: `millrace up` runs one of its own under the data folder.",
    secret: true,
  }),
  REDIS_MAX_MEMORY_MB: integer({
    about:
      "`maxmemory` of the Redis that `millrace up` runs, in MiB. Default: 40 % of the machine's memory, since a rewrite of its file may need as much again.",
    min: 16,
    max: 16_777_216,
  }),
  REDIS_MEMORY_HIGH_PERCENT: integer({
    about:
      "Share of Redis's `maxmemory` (where that is 0: of its machine's memory) from which new mail gets 452.",
    default: 70,
    min: 10,
    max: 90,
  }),
  REDIS_MEMORY_LOW_PERCENT: integer({
    about: "Share below which new mail is taken again.",
    default: 60,
    min: 5,
    max: 89,
  }),
  MAX_BACKLOG_MESSAGES: integer({
    about:
      "Accepted messages that are not in the mail store yet, from which new mail gets 452; below four fifths of it, it is taken again.",
    default: 100_000,
    min: 1,
    max: 100_000_000,
  }),
  LOG_LEVEL: choice({
    about: "Least severe line that is logged.",
    default: "info",
    of: ["trace", "debug", "info", "warn", "error", "fatal", "silent"],
  }),
  WATCHDOG_SECONDS: integer({
    about:
      "Time a worker process may be blocked by a handler that never returns; then it is killed, and another takes its jobs over. 0: never.",
    default: 60,
    min: 0,
    max: 86_400,
  }),

  SMTP_HOST: text({ about: "Address the edge listens on.", default: "127.0.0.1" }),
  SMTP_PORT: integer({
    about: "Port of the first edge; `--edges N` takes the N-1 that follow.",
    default: 2525,
    min: 0,
    max: 65535,
  }),
  SMTP_ENABLE_TLS: flag({
    about: "Offer STARTTLS with the certificate below: the same as `SMTP_TLS_MODE=starttls`.",
    default: false,
  }),
  SMTP_TLS_MODE: optionalChoice({
    about:
      "TLS of the edge itself: none (`off`), `starttls`, `implicit` from the first octet on, or ended by a proxy before it (`proxy`): sessions count as secure. Default: as `SMTP_ENABLE_TLS` says.",
    of: tlsModes,
  }),
  SMTP_TLS_CERT: text({
    about:
      "Certificate chain, a PEM file. Needed with `starttls` and `implicit`; read again when it changes.",
  }),
  SMTP_TLS_KEY: text({ about: "Private key of `SMTP_TLS_CERT`, a PEM file." }),
  SMTP_PROXY_PROTOCOL_FROM: text({
    about:
      "Addresses and networks, with commas between, of the proxies before the edge: each connection must come from one of them and begin with a PROXY header (version 1 or 2).",
  }),
  SMTP_ENABLE_AUTH: flag({
    about:
      "Offer AUTH PLAIN and LOGIN in secure sessions, and let authenticated users send to any address when there is a `relay`.",
    default: false,
  }),
  SMTP_AUTH_FAILURES_PER_CLIENT: integer({
    about: "Failed attempts at AUTH of one client address (IPv6: one /64), at all edges. More: 421.",
    default: 10,
    min: 1,
    max: 100_000,
  }),
  SMTP_AUTH_FAILURES_PER_USER: integer({
    about: "Failed attempts at AUTH as one user, at all edges, since the last that succeeded. More: 421.",
    default: 50,
    min: 1,
    max: 100_000,
  }),
  SMTP_AUTH_FAILURES_SECONDS: integer({
    about: "Time after which failed attempts at AUTH are forgotten, from the first one on.",
    default: 900,
    min: 1,
    max: 86_400,
  }),
  SMTP_LIMIT_CONNECTIONS_PER_CLIENT: limit({
    about:
      "Connections of one client address (IPv6: one /64) at once, at all edges together. More: 421. 0, here and in the five others: no limit.",
  }),
  SMTP_LIMIT_CONNECTIONS_PER_CLIENT_PER_MINUTE: limit({
    about: "New connections of one client address within a minute, at all edges. More: 421.",
  }),
  SMTP_LIMIT_MESSAGES_PER_CLIENT: limit({
    about: "MAIL commands of one client address within `SMTP_LIMIT_CLIENT_SECONDS`, at all edges. More: 450.",
  }),
  SMTP_LIMIT_RECIPIENTS_PER_CLIENT: limit({
    about:
      "RCPT commands of one client address within the same time, whether a route takes them or not. More: 450.",
  }),
  SMTP_LIMIT_CLIENT_SECONDS: integer({
    about: "Time within which a client's messages and recipients are counted, from the first one on.",
    default: 60,
    min: 1,
    max: 86_400,
  }),
  SMTP_LIMIT_MESSAGES_PER_USER: limit({
    about:
      "MAIL commands of one authenticated user within `SMTP_LIMIT_USER_SECONDS`, from all addresses, at all edges. More: 450.",
  }),
  SMTP_LIMIT_RECIPIENTS_PER_USER: limit({
    about: "RCPT commands of one authenticated user within the same time. More: 450.",
  }),
  SMTP_LIMIT_USER_SECONDS: integer({
    about: "Time within which a user's messages and recipients are counted, from the first one on.",
    default: 3_600,
    min: 1,
    max: 86_400,
  }),
  SMTP_LIMIT_EXEMPT: text({
    about:
      "Addresses and networks, with commas between, of clients that these limits do not hold for, nor for whoever authenticates from there.",
  }),
  SMTP_HANDSHAKE_TIMEOUT_SECONDS: integer({
    about: "Time for the PROXY header to arrive, and then for the handshake of implicit TLS.",
    default: 10,
    min: 1,
    max: 300,
  }),
  SMTP_DRAIN_SECONDS: integer({
    about:
      "Time an edge that is told to stop goes on as before, while `/readyz` says 503: what a balancer needs to notice.",
    default: 0,
    min: 0,
    max: 300,
  }),
  EDGE_NUMBER: integer({
    about:
      "Which edge of this machine it is: number - 1 is added to each of its ports but 0. `up --edges N` sets it.",
    default: 1,
    min: 1,
    max: 999,
  }),
  HEALTH_HOST: text({ about: "Address of `/healthz`, `/readyz` and `/metrics`.", default: "127.0.0.1" }),
  HEALTH_PORT: integer({
    about:
      "Port of the first edge's `/healthz`, `/readyz` and `/metrics`; `--edges N` takes the N-1 that follow. Unset: there are none.",
    min: 0,
    max: 65535,
  }),
  SMTP_MAX_MESSAGE_BYTES: integer({
    about: "Largest message, in octets; announced as SIZE. Larger: 552.",
    default: 52_428_800,
    min: 1_024,
    max: 1_073_741_824,
  }),
  SMTP_MAX_RECIPIENTS: integer({
    about: "Recipients in one transaction. More: 452.",
    default: 1_000,
    min: 1,
    max: 100_000,
  }),
  SMTP_MAX_CLIENTS: integer({
    about: "Connections one edge holds. More: 421.",
    default: 2_000,
    min: 1,
    max: 100_000,
  }),
  SMTP_MAX_COMMAND_BYTES: integer({
    about: "Longest command line, in octets. Longer: 421.",
    default: 2_048,
    min: 512,
    max: 65_536,
  }),
  SMTP_MAX_ERRORS: integer({
    about: "Refused commands after which a connection is closed with 421.",
    default: 20,
    min: 1,
    max: 100_000,
  }),
  SMTP_MAX_HOPS: integer({
    about: "Received fields a message may carry. More: 554, a mail loop (RFC 5321 §6.3).",
    default: 100,
    min: 1,
    max: 10_000,
  }),
  SMTP_COMMAND_TIMEOUT_SECONDS: integer({
    about: "Time for one command to arrive (RFC 5321 §4.5.3.2.7 asks for 5 minutes).",
    default: 300,
    min: 1,
    max: 3_600,
  }),
  SMTP_DATA_TIMEOUT_SECONDS: integer({
    about: "Time for one whole message, from DATA to its final dot.",
    default: 600,
    min: 1,
    max: 86_400,
  }),
  SMTP_COMMIT_TIMEOUT_SECONDS: integer({
    about: "Time for Redis to take a message in; after it the client reads 451.",
    default: 10,
    min: 1,
    max: 14,
  }),
  SMTP_BARE_LINE_ENDINGS: choice({
    about:
      "A CR or LF alone in a message: `reject` it with 550, or `normalize` it to CRLF before it is stored and hashed.",
    default: "reject",
    of: ["reject", "normalize"],
  }),

  UP_PROXY: optionalChoice({
    about:
      "Proxy that `millrace up` runs before its edges, on ports of its own: the same as `--proxy`. With it, `HEALTH_PORT` is 9525 and `SMTP_DRAIN_SECONDS` 5 where they are not set.",
    of: ["haproxy", "nginx"],
  }),
  UP_PROXY_HOST: text({ about: "Address that proxy listens on.", default: "127.0.0.1" }),
  UP_PROXY_SMTPS_PORT: integer({
    about: "Its port with TLS from the first octet on, as 465 has it.",
    default: 4650,
    min: 1,
    max: 65535,
  }),
  UP_PROXY_STARTTLS_PORT: integer({
    about: "Its port with STARTTLS, as 587 has it.",
    default: 5870,
    min: 1,
    max: 65535,
  }),
  UP_PROXY_CERT: text({
    about:
      "Certificate chain of that proxy and of the edges behind it, a PEM file, with the key in it unless `UP_PROXY_KEY` names another: the same as `--cert`. Unset: `up` makes one itself, which no client trusts.",
  }),
  UP_PROXY_KEY: text({ about: "Private key of `UP_PROXY_CERT`, a PEM file: the same as `--key`." }),
  UP_PROXY_EDGE_PORT: integer({
    about:
      "Port on 127.0.0.1 on which the first edge takes what that proxy has ended TLS of; `--edges N` takes the N-1 that follow.",
    default: 10_465,
    min: 1,
    max: 65535,
  }),
  UP_PROXY_EDGE_STARTTLS_PORT: integer({
    about: "The same for sessions that are passed on to STARTTLS.",
    default: 10_587,
    min: 1,
    max: 65535,
  }),

  POLICY_HEAP_MB: integer({
    about:
      "Heap of the process in which an edge runs the policies that are files, in MiB; it may have as much again in buffers.",
    default: 128,
    min: 32,
    max: 8_192,
  }),

  PARSE_CONCURRENCY: integer({
    about: "Parser threads, each with one message at a time.",
    default: 2,
    min: 1,
    max: 64,
  }),
  PARSE_TIMEOUT_SECONDS: integer({
    about: "Time for one message; after it the message goes on unparsed.",
    default: 30,
    min: 1,
    max: 600,
  }),
  PARSE_HEAP_MB: integer({
    about: "Heap of one parser thread; past it the message goes on unparsed.",
    default: 256,
    min: 32,
    max: 8_192,
  }),
  PARSE_MAX_TEXT_BYTES: integer({
    about: "Text and HTML kept from one message, in octets each.",
    default: 2_097_152,
    min: 1_024,
    max: 67_108_864,
  }),
  STORE_CONCURRENCY: integer({
    about: "Messages one store worker writes at once; they share fsyncs and transactions.",
    default: 128,
    min: 1,
    max: 4_096,
  }),
  STORE_MIN_FREE_MB: integer({
    about:
      "Room in MiB that must be free on the disk of the mail store, and on that of `up`'s Redis, beside room for what Redis holds. Less: new mail gets 452, until there is a quarter more.",
    default: 512,
    min: 1,
    max: 1_073_741_824,
  }),
  DELIVER_CONCURRENCY: integer({
    about: "Deliveries one deliver worker has in hand: under way, or waiting for their target.",
    default: 500,
    min: 1,
    max: 4_096,
  }),
  DELIVER_TARGET_CONCURRENCY: integer({
    about: "Deliveries one deliver worker makes to one target at once.",
    default: 20,
    min: 1,
    max: 4_096,
  }),

  CONSOLE_HOST: text({ about: "Address the console's HTTP server listens on.", default: "127.0.0.1" }),
  CONSOLE_PORT: integer({
    about: "Port of the console: it serves the attachment links that webhooks carry.",
    default: 8025,
    min: 0,
    max: 65535,
  }),
  CONSOLE_URL: text({
    about:
      "How the console is reached from outside: the start of attachment links. Default: its host and port.",
  }),
} satisfies Record<string, Setting<unknown>>;

export type SettingName = keyof typeof settings;
export type Settings = {
  readonly [K in SettingName]: (typeof settings)[K] extends Setting<infer T> ? T : never;
};
