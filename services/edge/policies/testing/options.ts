import { accept, definePolicy, reject, tag, z } from "@millrace/pipeline";

/** Refuses the senders in its options, and tags with the tags it finds. */
export default definePolicy({
  name: "options",
  on: "mail",
  options: z.object({ blocked: z.array(z.string()), echo: z.boolean().default(false) }),
  onError: "accept",
  decide({ from, tags }, { options }) {
    if (options.blocked.includes(from)) return reject(550, "5.7.1 Blocked");
    return options.echo && tags.length > 0 ? tag(...tags.map((each) => `seen-${each}`)) : accept();
  },
});
