import { defineWorker, type HeaderEdits, headerEditsSchema, joinedEdits, z } from "@millrace/pipeline";
import { scanForViruses, type VirusVerdict } from "./clamd.ts";
import { type SpamVerdict, scanForSpam } from "./rspamd.ts";
import { type Verdicts, verdictFields } from "./verdict-fields.ts";

const whatToDo = z.enum(["tag", "quarantine"]);

const config = z.strictObject({
  /** Where rspamd's normal worker listens; false: no spam filter. */
  rspamd: z.union([z.literal(false), z.url()]).default("http://127.0.0.1:11333"),
  password: z.string().optional(),
  /** Where clamd listens: the path of its socket, or `host:port`; false: no virus scanner. */
  clamd: z.union([z.literal(false), z.string().min(1)]).default("/run/clamav/clamd.ctl"),
  /** Tagged mail is delivered with a field that says so; quarantined mail waits for `millrace quarantine release`. */
  spam: whatToDo.default("tag"),
  virus: whatToDo.default("quarantine"),
  /** What a scanner would not look at, such as a message that is too large for it. */
  unscanned: whatToDo.default("quarantine"),
});
type ScanConfig = z.output<typeof config>;

interface Sentence {
  by: string;
  reason: string;
}

/**
 * A worker that asks rspamd and ClamAV about each message and clears it for delivery, tagged, or quarantines it. A
 * scanner that is down keeps mail waiting and loses none.
 * @param on the event behind which it stands: what that carries as `header` goes on with the message
 */
export function scanWorker(on: string) {
  return defineWorker({
    name: "scan",
    version: "1.0.0",
    on,
    config,
    concurrency: 8,
    timeout: "5m",
    retry: { first: "5s", longest: "5m", giveUpAfter: "5d" },
    async handle(event, ctx) {
      const earlier = headerEditsSchema.optional().parse(event.data.header);
      const { rspamd, clamd, password } = ctx.config;
      const { id, receivedFieldSize, size } = ctx.manifest;
      const octets = receivedFieldSize + size;
      const { envelope, signal } = ctx;
      const [spam, virus] = await Promise.all([
        rspamd === false
          ? undefined
          : scanForSpam({ url: rspamd, password, id, envelope, message: ctx.raw(), size: octets, signal }),
        clamd === false ? undefined : scanForViruses(clamd, ctx.raw(), signal),
      ]);
      const verdicts: Verdicts = { spam, virus };
      const header: HeaderEdits = joinedEdits(earlier, verdictFields(verdicts)) as HeaderEdits;
      const sentence = sentenceFor(ctx.config, verdicts);
      ctx.log.info({ spam: spam?.result, virus: virus?.result, quarantined: sentence?.by }, "scanned");
      if (sentence) ctx.emit("message.quarantined", { ...sentence, verdicts: { ...verdicts }, header });
      else ctx.emit("message.cleared", { header });
    },
  });
}

/** Why a message is to be quarantined; undefined when it is not. */
function sentenceFor(config: ScanConfig, { spam, virus }: Verdicts): Sentence | undefined {
  return (virus && sentenceForVirus(config, virus)) ?? (spam && sentenceForSpam(config, spam)) ?? undefined;
}

function sentenceForVirus(config: ScanConfig, virus: VirusVerdict): Sentence | undefined {
  if (virus.result === "infected" && config.virus === "quarantine")
    return { by: "clamd", reason: `virus ${virus.name}` };
  return virus.result === "unscanned" && config.unscanned === "quarantine"
    ? { by: "clamd", reason: `not scanned: ${virus.reason}` }
    : undefined;
}

function sentenceForSpam(config: ScanConfig, spam: SpamVerdict): Sentence | undefined {
  if (spam.result === "spam" && config.spam === "quarantine")
    return {
      by: "rspamd",
      reason: `spam, score ${spam.score} of ${spam.required}: ${spam.symbols.join(", ")}`,
    };
  return spam.result === "unscanned" && config.unscanned === "quarantine"
    ? { by: "rspamd", reason: `not scanned: ${spam.reason}` }
    : undefined;
}
