export { openWebhook, type Webhook, type WebhookAnswer, type WebhookEndpoint } from "./webhook.ts";
