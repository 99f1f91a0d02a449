import type { HeaderEdits } from "@millrace/pipeline";
import type { VirusVerdict } from "./clamd.ts";
import type { SpamVerdict } from "./rspamd.ts";

/** What the scanners said; undefined for one that is switched off. */
export interface Verdicts {
  spam: SpamVerdict | undefined;
  virus: VirusVerdict | undefined;
}

/** Fields a reader's filters go by: none of them may come from the sender. */
const ours = ["X-Spam-Flag", "X-Spam-Status", "X-Spam-Score", "X-Virus-Status"];

/** The verdicts as fields of the header, in the place of those that somebody else may have written. */
export function verdictFields({ spam, virus }: Verdicts): HeaderEdits {
  const add: HeaderEdits["add"] = [];
  if (spam?.result === "unscanned") add.push({ name: "X-Spam-Status", value: "Unscanned" });
  else if (spam) {
    const { result, score, required, symbols } = spam;
    const word = result === "spam" ? "Yes" : "No";
    if (result === "spam") add.push({ name: "X-Spam-Flag", value: "YES" });
    add.push({
      name: "X-Spam-Status",
      value: `${word}, score=${score.toFixed(2)} required=${required.toFixed(2)} tests=${symbols.join(", ") || "none"}`,
    });
  }
  if (virus) {
    const words = { clean: "Clean", infected: "Infected", unscanned: "Unscanned" };
    const name = virus.result === "infected" ? ` (${virus.name})` : "";
    add.push({ name: "X-Virus-Status", value: `${words[virus.result]}${name}` });
  }
  return { add, remove: ours.map((name) => ({ name })) };
}
