/** The series of one episode, fetched when a plot or the table of values asks for them, a few at once. */

import { isCanceled } from "./api";
import type { Series } from "./types";

const AT_ONCE = 3;

export class SeriesStore {
  private readonly found = new Map<string, Series>();
  private readonly failed = new Map<string, unknown>();
  private readonly queue: string[] = [];
  private readonly asked = new Set<string>();
  private readonly listeners = new Set<() => void>();
  private readonly controller = new AbortController();
  private running = 0;

  constructor(private readonly fetchSeries: (leaf: string, signal: AbortSignal) => Promise<Series>) {}

  get(leaf: string): Series | null {
    return this.found.get(leaf) ?? null;
  }

  error(leaf: string): unknown {
    return this.failed.get(leaf) ?? null;
  }

  /** Ask for a leaf; `soon` puts it in front of the queue. */
  want(leaf: string, soon = false): void {
    if (this.found.has(leaf)) return;
    if (this.asked.has(leaf)) {
      const place = this.queue.indexOf(leaf);
      if (soon && place > 0) this.queue.unshift(...this.queue.splice(place, 1));
      return;
    }
    this.asked.add(leaf);
    if (soon) this.queue.unshift(leaf);
    else this.queue.push(leaf);
    this.run();
  }

  listen(listener: () => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  close(): void {
    this.queue.length = 0;
    this.listeners.clear();
    this.controller.abort();
  }

  private run(): void {
    while (this.running < AT_ONCE) {
      const leaf = this.queue.shift();
      if (leaf === undefined) return;
      this.running++;
      void this.fetch(leaf);
    }
  }

  private async fetch(leaf: string): Promise<void> {
    try {
      this.found.set(leaf, await this.fetchSeries(leaf, this.controller.signal));
    } catch (error) {
      if (isCanceled(error)) return;
      this.failed.set(leaf, error);
    }
    this.running--;
    for (const listener of this.listeners) listener();
    this.run();
  }
}
