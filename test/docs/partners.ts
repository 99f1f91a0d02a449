// partners.ts
import { accept, definePolicy, reject, tag, z } from "@millrace/pipeline";

export default definePolicy({
  name: "partners",
  on: ["rcpt", "data"],
  options: z.object({ domains: z.array(z.string()) }),
  decide(transaction, { options }) {
    const partner = options.domains.includes(transaction.from.split("@").at(-1) ?? "");
    if (transaction.on === "rcpt") {
      const closed = transaction.recipient.startsWith("orders@");
      return closed && !partner ? reject(550, "5.7.1 Orders are taken from partners only") : accept();
    }
    const bulk = transaction.headers.some(({ name }) => name.toLowerCase() === "list-id");
    return bulk ? tag("bulk") : accept();
  },
});
