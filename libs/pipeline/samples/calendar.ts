import { filePart, heading, joined, multipart, textPart } from "./parts.ts";
import type { Making, Sample } from "./sample.ts";

export const calendar: Sample = {
  name: "calendar",
  about: "An invitation to a meeting tomorrow: text/calendar with METHOD:REQUEST (RFC 6047), and as a file.",
  from: "ann@example.net",
  build(making) {
    const event = invitation(making);
    return joined(
      heading(making, "Ann Example", "Invitation: the new mill"),
      multipart("mixed", "=_calendar", [
        multipart("alternative", "=_views", [
          textPart("text/plain", "Ann invites you: the new mill, tomorrow, for an hour.\n"),
          textPart("text/calendar; method=REQUEST", event),
        ]),
        filePart("application/ics", "invite.ics", event),
      ]),
    );
  },
};

function invitation({ from, to, at, id }: Making): string {
  const tomorrow = (hours: number) => stamp(new Date(at.getTime() + 86_400_000 + hours * 3_600_000));
  const lines = [
    "BEGIN:VCALENDAR",
    "VERSION:2.0",
    "PRODID:-//Millrace//Sample//EN",
    "METHOD:REQUEST",
    "BEGIN:VEVENT",
    `UID:${id}`,
    `DTSTAMP:${stamp(at)}`,
    `DTSTART:${tomorrow(0)}`,
    `DTEND:${tomorrow(1)}`,
    "SUMMARY:The new mill",
    `ORGANIZER;CN=Ann Example:mailto:${from}`,
    ...to.map((address) => `ATTENDEE;RSVP=TRUE:mailto:${address}`),
    "END:VEVENT",
    "END:VCALENDAR",
    "",
  ];
  return lines.join("\r\n");
}

/** A time in UTC (RFC 5545 §3.3.5): 20260131T120000Z. */
function stamp(at: Date): string {
  return `${at.toISOString().slice(0, 19).replace(/[-:]/g, "")}Z`;
}
