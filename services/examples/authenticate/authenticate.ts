import { defineWorker, type HeaderEdits, headerEditsSchema, z } from "@millrace/pipeline";
import { type AuthenticateResult, authenticate, type DNSResolver } from "mailauth";
import { askNameServers } from "./name-servers.ts";

const config = z.strictObject({
  /** Who says so: the name readers of the field trust, such as the host's. Fields of others that claim it are left out. */
  authservId: z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._-]*$/, "write a host name, as mx.example.com"),
  /** Name servers to ask, `ip` or `ip:port`; none: the machine's own. */
  nameServers: z.array(z.string()).default([]),
  /** Seconds a name server has for one answer. */
  dnsSeconds: z.number().positive().default(5),
  /** Whether its word is the last: with false another worker, on `mail.authenticated`, clears the message. */
  clears: z.boolean().default(true),
});
type AuthenticateConfig = z.output<typeof config>;

/** Says in an Authentication-Results field (RFC 8601) what SPF, DKIM, DMARC and ARC come to. It judges no message. */
export default defineWorker({
  name: "authenticate",
  version: "1.0.0",
  on: "message.stored",
  config,
  concurrency: 16,
  timeout: "2m",
  retry: { first: "5s", longest: "5m", giveUpAfter: "5d" },
  emits: {
    "mail.authenticated": z.object({
      spf: z.string(),
      dkim: z.array(z.object({ domain: z.string(), result: z.string() })),
      dmarc: z.string(),
      arc: z.string(),
      header: headerEditsSchema,
    }),
  },
  async handle(_event, ctx) {
    const { authservId, clears } = ctx.config;
    const { envelope } = ctx;
    const raw = ctx.raw();
    try {
      const result = await authenticate(raw, {
        mta: authservId,
        sender: envelope.from,
        ip: envelope.client.ip,
        helo: envelope.helo,
        resolver: resolverOf(ctx.config),
        disableBimi: true,
        strict: true,
      });
      const header: HeaderEdits = {
        add: [{ name: "Authentication-Results", value: fieldOf(result) }],
        // Whoever reads our name must be able to believe it (RFC 8601 §5).
        remove: [{ name: "Authentication-Results", authservId }],
      };
      const verdicts = verdictsOf(result);
      ctx.log.info(verdicts, "authenticated");
      ctx.emit("mail.authenticated", { ...verdicts, header });
      if (clears) ctx.emit("message.cleared", { header });
    } finally {
      raw.destroy();
    }
  },
});

/** Characters of the field, so that a mail with a thousand signatures goes its way like any other. */
const longestField = 16_000;

/** The field's value on one line, with as many whole results as fit. */
function fieldOf({ headers }: AuthenticateResult): string {
  const field = /^Authentication-Results:((?:.*\r?\n[ \t])*.*)/m.exec(headers)?.[1] ?? "";
  const value = field.replace(/\s+/g, " ").trim();
  if (value.length <= longestField) return value;
  return value.slice(0, value.lastIndexOf("; ", longestField));
}

function verdictsOf({ spf, dkim, dmarc, arc }: AuthenticateResult) {
  const resultOf = (check: { status?: { result?: string } } | false) =>
    (check === false ? undefined : check.status?.result) ?? "none";
  return {
    spf: resultOf(spf),
    dkim: dkim.results
      .filter(({ signingDomain }) => signingDomain)
      .slice(0, 20)
      .map(({ signingDomain, status }) => ({ domain: String(signingDomain), result: status.result })),
    dmarc: resultOf(dmarc),
    arc: resultOf(arc),
  };
}

const resolvers = new Map<AuthenticateConfig, DNSResolver>();

function resolverOf(given: AuthenticateConfig): DNSResolver {
  let resolver = resolvers.get(given);
  if (!resolver) {
    resolver = askNameServers(given.nameServers, given.dnsSeconds);
    resolvers.set(given, resolver);
  }
  return resolver;
}
