import type { RetryPolicy, TransportName } from "@millrace/mail";

const seconds = 1_000;
const minutes = 60 * seconds;
const hours = 60 * minutes;
const days = 24 * hours;

/**
 * When a delivery is tried again where its route does not say. Mail servers: five days (RFC 5321 §4.5.4.1). A Maildir
 * has our own disk to wait for, and nobody is spared by waiting long. Webhooks: the delays Standard Webhooks recommends
 * (https://github.com/standard-webhooks/standard-webhooks), about 27 hours in all.
 */
export const schedules: Record<TransportName, RetryPolicy> = {
  smtp: { firstDelay: 10 * seconds, maxDelay: hours, jitter: 0.5, giveUpAfter: 5 * days },
  lmtp: { firstDelay: 10 * seconds, maxDelay: hours, jitter: 0.5, giveUpAfter: 5 * days },
  maildir: { firstDelay: 10 * seconds, maxDelay: 5 * minutes, jitter: 0.5, giveUpAfter: 5 * days },
  webhook: {
    delays: [5 * seconds, 5 * minutes, 30 * minutes, 2 * hours, 5 * hours, 10 * hours, 10 * hours],
    jitter: 0.2,
  },
};
