import assert from "node:assert/strict";
import { test } from "node:test";
import {
  brief,
  clock,
  count,
  counted,
  decimal,
  figure,
  megabytes,
  number,
  percent,
  shape,
  shortest,
  steady,
  value,
} from "../src/format";

test("numbers have as many digits as are worth reading", () => {
  const texts = [0, 3.14159, -0.5, 12345, 1e9, 1.5e-7, 0.0001234, 123456.7, null, NaN, -Infinity].map((each) =>
    number(each),
  );
  assert.deepEqual(
    texts,
    ["0", "3.142", "−0.5", "12,345", "1e9", "1.5e-7", "0.0001234", "123,500", "–", "–", "−∞"].map((text) =>
      text.replace("e-", "e−"),
    ),
  );
});

test("values that change keep their width", () => {
  assert.deepEqual(
    [0.5, -0.25, 1].map((each) => steady(each, 2)),
    ["0.5000", "−0.2500", "1.0000"],
  );
  assert.deepEqual(
    [5, 1234.5].map((each) => steady(each, 2000)),
    ["5.0", "1234.5"],
  );
  assert.equal(steady(3, 0), "3");
});

test("whole numbers and flags are shown as such", () => {
  assert.equal(figure({ kind: "number", dtype: "int64", min: 0, max: 9 }, 3), "3");
  assert.equal(figure({ kind: "flag", dtype: "bool", min: 0, max: 1 }, 1), "true");
  assert.equal(figure({ kind: "number", dtype: "float32", min: 0, max: 1 }, 0.5), "0.5000");
  assert.equal(figure({ kind: "number", dtype: "float32", min: null, max: null }, null), "–");
});

test("counts, sizes, shares and times", () => {
  assert.deepEqual(
    [count(1234567), count(null), counted(1, "episode"), counted(2, "step")],
    ["1,234,567", "–", "1 episode", "2 steps"],
  );
  assert.deepEqual([0, 0.3, 5.25, 999, 1500, null].map(megabytes), [
    "< 0.1 MB",
    "0.3 MB",
    "5.25 MB",
    "999 MB",
    "1.5 GB",
    "–",
  ]);
  assert.deepEqual([percent(0, 0), percent(1, 3), percent(1, 5000), percent(1, 40)], ["0%", "33%", "< 0.1%", "2.5%"]);
  assert.deepEqual([clock(0), clock(7.35), clock(725)], ["0:00.0", "0:07.3", "12:05.0"]);
  assert.deepEqual([decimal(1234.5, 2), decimal(-3, 0)], ["1,234.50", "−3"]);
});

test("shapes, names and nested values", () => {
  assert.deepEqual([shape([]), shape([84, 84, 3])], ["scalar", "84×84×3"]);
  assert.deepEqual([brief("agents/wolf/rewards"), brief("rewards")], ["wolf/rewards", "rewards"]);
  assert.deepEqual(shortest(["obs/cameras/front", "obs/cameras/wrist"]), ["front", "wrist"]);
  assert.deepEqual(shortest(["a/image", "b/image"]), ["a/image", "b/image"]);
  assert.deepEqual(shortest(["x", "x"]), ["x", "x"]);
  assert.equal(value({ goal: [0.25, 1], note: null, done: true }), "goal: [0.25, 1], note: –, done: true");
});
