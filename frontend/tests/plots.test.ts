import assert from "node:assert/strict";
import { test } from "node:test";
import { boundsOf } from "../src/plots";

test("the axis of one value is around it", () => {
  assert.deepEqual(boundsOf(0, 0), [-1, 1]);
  assert.deepEqual(boundsOf(-4, -4), [-6, -2]);
});

test("an axis without a value has bounds", () => {
  assert.deepEqual(boundsOf(null, null), [0, 1]);
});

test("other axes have all values", () => {
  for (const [low, high] of [
    [0, 3],
    [-1e307, 1e307],
    [5e-324, 1],
  ] as const) {
    const [first, last] = boundsOf(low, high);
    assert.ok(first !== null && last !== null);
    assert.ok(Number.isFinite(last - first) && first <= low && high <= last);
  }
});
