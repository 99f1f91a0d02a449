export { clientKey, userKey } from "./keys.ts";
export { type Asked, type LimitName, type LimitSettings, type Limits, openLimits } from "./limits.ts";
