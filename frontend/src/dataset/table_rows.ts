/** The rows of the table of episodes for a filter and an order. */

import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { api } from "../data/api";
import { RowPages } from "../data/rows";

/** Which episodes the table has, in which order. */
export interface Query {
  where: string;
  sort: string;
  descending: boolean;
}

const MOST_ROWS = 1000; // of a request

/** The rows for a query; a new query cancels what the old one still waits for. */
export function useRows(id: string, query: Query, attempt: number): { rows: RowPages; version: number } {
  const [version, setVersion] = useState(0);
  const { where, sort, descending } = query;
  const rows = useMemo(
    () =>
      new RowPages(
        (offset, limit, signal) => api.episodes(id, { where, sort, descending, offset, limit }, signal),
        () => setVersion((number) => number + 1),
      ),
    [id, where, sort, descending, attempt],
  );
  useEffect(() => {
    rows.want(0, 0);
    return () => rows.close();
  }, [rows]);
  return { rows, version };
}

/** Keep showing the old rows until new ones are here, so that the table neither flickers nor goes for a mistyped filter. */
export function useSettled(rows: RowPages): RowPages {
  const settled = useRef(rows);
  if (rows.total !== null) settled.current = rows;
  return settled.current;
}

/** The episodes in some rows of the table, whether these are here or not. */
export async function idsBetween(id: string, query: Query, first: number, last: number): Promise<number[]> {
  const { signal } = new AbortController();
  const found: number[] = [];
  for (let offset = first; offset <= last; offset += MOST_ROWS) {
    const page = await api.episodes(id, { ...query, offset, limit: Math.min(MOST_ROWS, last - offset + 1) }, signal);
    found.push(...page.rows.map((row) => Number(row[0])));
  }
  return found;
}
