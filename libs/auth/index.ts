export { type AttemptLimits, type FailedAttempts, failedAttempts } from "./failed-attempts.ts";
export { openDirectory } from "./open-directory.ts";
export { hashPassword } from "./password-hash.ts";
export { type ListedUser, redisUsers, type Users } from "./redis-users.ts";
export {
  type Credentials,
  type Directory,
  maySendFrom,
  passwordSchema,
  reversePathSchema,
  type User,
  userNameSchema,
} from "./user.ts";
