import assert from "node:assert/strict";
import { test } from "node:test";
import { RowPages } from "../src/data/rows";
import { placeAt } from "../src/data/series";
import type { EpisodeRows } from "../src/data/types";

function pages() {
  const asked: { offset: number; signal: AbortSignal }[] = [];
  const rows = new RowPages(
    async (offset, limit, signal): Promise<EpisodeRows> => {
      asked.push({ offset, signal });
      const ids = Array.from({ length: Math.min(limit, 1000 - offset) }, (_, place) => [offset + place]);
      return { revision: "r", columns: [{ name: "id", kind: "number" }], total: 1000, of: 5000, rows: ids };
    },
    () => undefined,
  );
  return { rows, asked };
}

const settled = () => new Promise((resolve) => setTimeout(resolve, 0));

test("pages are fetched as they come into sight, once", async () => {
  const { rows, asked } = pages();
  rows.want(0, 30);
  await settled();
  assert.deepEqual([rows.total, rows.of, rows.row(30), rows.row(200)], [1000, 5000, [30], null]);
  rows.want(190, 210);
  rows.want(190, 210);
  await settled();
  assert.deepEqual(
    asked.map(({ offset }) => offset),
    [0, 200],
  );
  assert.deepEqual(rows.row(210), [210]);
});

test("pages that are out of sight again are canceled", async () => {
  const { rows, asked } = pages();
  rows.want(0, 0);
  await settled();
  rows.want(400, 450);
  rows.want(900, 950);
  await settled();
  assert.deepEqual(
    asked.map(({ signal }) => signal.aborted),
    [false, true, false],
  );
  assert.deepEqual([rows.row(400), rows.row(900)], [null, [900]]);
});

test("the value at a step is that of the last step before", () => {
  const steps = [0, 2, 4, 8];
  assert.deepEqual(
    [-1, 0, 1, 4, 7, 99].map((step) => placeAt(steps, step)),
    [0, 0, 0, 2, 2, 3],
  );
  assert.equal(placeAt([], 3), 0);
});
