export { type JournalEntry, journalEntrySchema } from "./journal-entry.ts";
export type { DeliveryStatus, ListQuery, MailStore, MessageSummary, StoreItem } from "./mail-store.ts";
