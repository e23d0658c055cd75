import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';

/** Seconds: the API server waits for five. */
const buckets = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5];

export type Outcome = 'allowed' | 'changed' | 'refused' | 'failed';

/** What the webhook counts, for Prometheus. */
export class WebhookMetrics {
  readonly registry = new Registry();
  readonly #reviews: Counter<'webhook' | 'outcome'>;
  readonly #seconds: Histogram<'webhook'>;

  /** @param expiry Milliseconds since 1970 until which the certificate is good; undefined while there is none. */
  constructor(expiry: () => number | undefined) {
    const registers = [this.registry];
    collectDefaultMetrics({ register: this.registry });
    this.#reviews = new Counter({
      name: 'plexus_webhook_reviews_total',
      help: 'Questions of the API server, by webhook and what came of them.',
      labelNames: ['webhook', 'outcome'],
      registers,
    });
    this.#seconds = new Histogram({
      name: 'plexus_webhook_review_seconds',
      help: 'From a question to its answer.',
      labelNames: ['webhook'],
      buckets,
      registers,
    });
    new Gauge({
      name: 'plexus_webhook_certificate_expiry_seconds',
      help: 'When the certificate that is served expires, in seconds since 1970; 0 while there is none.',
      registers,
      collect() {
        this.set((expiry() ?? 0) / 1000);
      },
    });
  }

  review(webhook: string, outcome: Outcome, milliseconds: number): void {
    this.#reviews.inc({ webhook, outcome });
    this.#seconds.observe({ webhook }, milliseconds / 1000);
  }
}
