import { heading, joined, mailDate, multipart, textPart } from "./parts.ts";
import type { Sample } from "./sample.ts";

export const bounce: Sample = {
  name: "bounce",
  about: "Another server's delivery status notification (RFC 3464), with the null reverse-path.",
  from: "",
  build(making) {
    const { to, at, id } = making;
    const author = to[0] ?? "postmaster";
    return joined(
      heading(
        { ...making, from: "MAILER-DAEMON@mail.example" },
        "Mail Delivery System",
        "Undelivered Mail Returned to Sender",
      ),
      ["Auto-Submitted: auto-replied"],
      multipart("report; report-type=delivery-status", "=_bounce", [
        textPart(
          "text/plain",
          "Your message could not be delivered.\n\n<nobody@mail.example>: 550 5.1.1 User unknown\n",
        ),
        [
          "Content-Type: message/delivery-status",
          "",
          "Reporting-MTA: dns; mail.example",
          `Arrival-Date: ${mailDate(new Date(at.getTime() - 60_000))}`,
          "",
          "Final-Recipient: rfc822; nobody@mail.example",
          "Action: failed",
          "Status: 5.1.1",
          "Diagnostic-Code: smtp; 550 5.1.1 User unknown",
          "",
        ],
        [
          "Content-Type: text/rfc822-headers",
          "",
          ...heading(
            { from: author, to: ["nobody@mail.example"], at, id: `original.${id}` },
            "You",
            "Are you there?",
          ),
          "",
        ],
      ]),
    );
  },
};
