/** The rows of a table of episodes, fetched in pages as they come into sight. */

import { isCanceled } from "./api";
import type { Cell, Column, EpisodeRows } from "./types";

export type FetchRows = (offset: number, limit: number, signal: AbortSignal) => Promise<EpisodeRows>;

const PAGE = 200;

export class RowPages {
  columns: Column[] = [];
  total: number | null = null; // unknown before the first page
  of = 0;
  revision = "";
  error: unknown = null;
  changed = false; // whether somebody edited the dataset between two pages

  private readonly pages = new Map<number, Cell[][]>();
  private readonly waiting = new Map<number, AbortController>();

  constructor(
    private readonly fetchRows: FetchRows,
    private readonly arrived: () => void,
  ) {}

  row(place: number): Cell[] | null {
    return this.pages.get(Math.floor(place / PAGE))?.[place % PAGE] ?? null;
  }

  /** Fetch what the rows from `first` to `last` need; requests for other rows are canceled. */
  want(first: number, last: number): void {
    const end = this.total === null ? 0 : Math.max(Math.floor((this.total - 1) / PAGE), 0);
    const from = Math.max(Math.min(Math.floor(first / PAGE), end), 0);
    const to = Math.min(Math.floor(last / PAGE), end);
    for (const [page, controller] of this.waiting) {
      if (page < from || page > to) {
        controller.abort();
        this.waiting.delete(page);
      }
    }
    for (let page = from; page <= to; page++) {
      if (!this.pages.has(page) && !this.waiting.has(page)) void this.fetch(page);
    }
  }

  close(): void {
    for (const controller of this.waiting.values()) controller.abort();
    this.waiting.clear();
  }

  private async fetch(page: number): Promise<void> {
    const controller = new AbortController();
    this.waiting.set(page, controller);
    try {
      const found = await this.fetchRows(page * PAGE, PAGE, controller.signal);
      if (controller.signal.aborted) return;
      this.columns = found.columns;
      this.total = found.total;
      this.of = found.of;
      this.changed ||= this.revision !== "" && this.revision !== found.revision;
      this.revision = found.revision;
      this.pages.set(page, found.rows);
      this.error = null;
    } catch (error) {
      if (controller.signal.aborted || isCanceled(error)) return;
      this.error = error;
    }
    this.waiting.delete(page);
    this.arrived();
  }
}
