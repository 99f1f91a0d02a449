export type { AuthConfig, HttpAuthConfig } from "./auth-config.ts";
export { addressesOf, cidrsIn, isListed } from "./cidr.ts";
export {
  type Config,
  ConfigError,
  type ConfigFile,
  configFileSchema,
  edgePorts,
  loadConfig,
  maskSecrets,
  printableConfig,
} from "./config.ts";
export { type HealthOptions, type HealthServer, startHealthServer } from "./health-server.ts";
export { linkKey } from "./link-key.ts";
export { type CertificateFiles, isLoopback, type Listener, portProblems } from "./listeners.ts";
export { type LocalProxy, proxiedListeners } from "./local-proxy.ts";
export { createLogger, type Logger } from "./log.ts";
export { openRelays } from "./open-relay.ts";
export type { FilePolicyConfig, HttpPolicyConfig, PolicyConfig } from "./policy-config.ts";
export {
  childEnvironment,
  exitStatus,
  type RunningService,
  runService,
  type ServiceContext,
  StartError,
  type StopReason,
  workersStopWithin,
} from "./process.ts";
export { durabilityProblems, failFast, failFastRedis, patientRedis } from "./redis.ts";
export type { Setting } from "./setting.ts";
export { type SettingName, type Settings, settings } from "./settings.ts";
export type { TlsMode } from "./tls-modes.ts";
export { workerConfig } from "./worker-config.ts";
