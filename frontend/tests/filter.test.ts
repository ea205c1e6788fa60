import assert from "node:assert/strict";
import { test } from "node:test";
import { isWhole, nameOf, rangeCondition, withRange } from "../src/filter";

const whole = { edges: [5, 10, 15, 20], counts: [3, 0, 2], labels: ["5 to 9", "10 to 14", "15 to 18"], not_finite: 0 };
const single = { edges: [1, 2, 3], counts: [2, 1], labels: ["1", "2"], not_finite: 0 };
const real = {
  edges: [-1.23456789, 0, 1.23456789],
  counts: [4, 5],
  labels: ["-1.235 to 0", "0 to 1.235"],
  not_finite: 0,
};

test("bins of whole numbers are told from others", () => {
  assert.ok(isWhole(whole));
  assert.ok(isWhole(single));
  assert.ok(!isWhole(real));
  assert.ok(!isWhole({ edges: [0, 1, 2], labels: ["0 to 1", "1 to 2"] }));
  assert.ok(!isWhole({ edges: [], labels: [] }));
});

test("a range of whole numbers names its ends", () => {
  assert.equal(rangeCondition("length", whole, 0, 0), "5 <= length <= 9");
  assert.equal(rangeCondition("length", whole, 1, 2), "10 <= length <= 19");
  assert.equal(rangeCondition("length", single, 1, 1), "length == 2");
});

test("rounded ends leave out nothing at the ends of a histogram", () => {
  assert.equal(rangeCondition("return", real, 0, 0), "-1.23457 <= return < 0");
  assert.equal(rangeCondition("return", real, 1, 1), "0 <= return <= 1.23457");
  const small = { edges: [0.1234561, 0.5, 0.9876544], counts: [1, 1], labels: ["", ""], not_finite: 0 };
  assert.equal(rangeCondition("return", small, 0, 1), "0.123456 <= return <= 0.987655");
});

test("columns have the names of conditions", () => {
  assert.deepEqual(["length", "options/goal", "success-rate", "a b/c", "options/x y"].map(nameOf), [
    "length",
    "options.goal",
    'metadata["success-rate"]',
    'metadata["a b"].c',
    'options["x y"]',
  ]);
  assert.equal(nameOf("agents/wolf_0/return"), 'agents["wolf_0"].return');
  assert.equal(nameOf("metadata/length"), 'metadata["length"]');
});

test("a single value is itself", () => {
  const one = { edges: [2.5, 2.5], counts: [7], labels: ["2.5"], not_finite: 0 };
  assert.equal(rangeCondition("return[1]", one, 0, 0), "return[1] == 2.5");
});

test("a bin that is not there is a mistake", () => {
  assert.throws(() => rangeCondition("length", whole, 0, 3), RangeError);
});

test("a range is added to a filter, and takes the place of another of the same name", () => {
  assert.equal(withRange("", "length", "length == 2"), "length == 2");
  assert.equal(withRange("terminated", "length", "length == 2"), "terminated and length == 2");
  assert.equal(withRange("1 <= length < 9 and terminated", "length", "length == 2"), "terminated and length == 2");
  assert.equal(withRange("length > 4 and -1e-5 <= return <= 3", "return", "return == 0"), "length > 4 and return == 0");
  assert.equal(
    withRange('agents["a"].return < 3', 'agents["a"].return', 'agents["a"].return == 4'),
    'agents["a"].return == 4',
  );
});

test("other conditions stay as they are", () => {
  assert.equal(withRange('task == "a and b"', "length", "length == 2"), 'task == "a and b" and length == 2');
  assert.equal(withRange("mean(length and 3)", "length", "length == 2"), "mean(length and 3) and length == 2");
  assert.equal(withRange("a or length > 3", "length", "length == 2"), "(a or length > 3) and length == 2");
  assert.equal(withRange("mean_length > 3", "length", "length == 2"), "mean_length > 3 and length == 2");
});
