import assert from "node:assert/strict";
import { test } from "node:test";
import { links, parseRoute, splitToken } from "../src/router";

test("places survive the way through the address", () => {
  const id = "D4RL/door & <b>/human-v2";
  assert.deepEqual(parseRoute(links.catalog()), { page: "catalog" });
  assert.deepEqual(parseRoute(""), { page: "catalog" });
  const where = 'task == "a&b?" and 3 <= length';
  assert.deepEqual(parseRoute(links.dataset(id, where, "return", true)), {
    page: "dataset",
    id,
    where,
    sort: "return",
    descending: true,
  });
  assert.deepEqual(parseRoute(links.episode(id, 12, 7)), { page: "episode", id, n: 12, step: 7 });
  assert.deepEqual(parseRoute(links.compare(id, "b-v0")), { page: "compare", a: id, b: "b-v0" });
});

test("addresses that lead nowhere are known as such", () => {
  for (const hash of ["#/nowhere", "#/dataset", "#/episode?id=a", "#/episode?id=a&n=-1", "#/compare?a=b"]) {
    assert.equal(parseRoute(hash).page, "unknown");
  }
});

test("the token is split off what minari view prints", () => {
  assert.deepEqual(splitToken("#token=a_b-c"), { token: "a_b-c", hash: "#/" });
  assert.deepEqual(splitToken("#token=a&dataset=x%2Fy-v0"), { token: "a", hash: "#/dataset?id=x/y-v0" });
  assert.deepEqual(splitToken("#/dataset?id=token=3"), { token: null, hash: "#/dataset?id=token=3" });
});
