export { attachmentOf } from "./attachment-of.ts";
export { parseHeaderOnly, readHeaderFields } from "./header-only.ts";
export { defaultParseLimits, type ParseLimits } from "./parse-limits.ts";
export { ParserFailure, parseMessage } from "./parse-message.ts";
