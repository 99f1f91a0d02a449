export {
  type Config,
  ConfigError,
  type ConfigFile,
  configFileSchema,
  loadConfig,
  maskSecrets,
  printableConfig,
} from "./config.ts";
export { linkKey } from "./link-key.ts";
export { createLogger, type Logger } from "./log.ts";
export {
  childEnvironment,
  exitStatus,
  type RunningService,
  runService,
  type ServiceContext,
  StartError,
} from "./process.ts";
export { durabilityProblems, failFast, failFastRedis, patientRedis } from "./redis.ts";
export type { Setting } from "./setting.ts";
export { type SettingName, type Settings, settings } from "./settings.ts";
