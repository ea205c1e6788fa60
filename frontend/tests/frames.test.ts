import assert from "node:assert/strict";
import { test } from "node:test";
import type { FrameBlock } from "../src/data/api";
import { FrameCache, toRgba } from "../src/data/frames";

interface Asked {
  camera: string;
  start: number;
  stop: number;
  signal: AbortSignal;
  answer: () => void;
  fail: () => void;
}

const CAMERA = { name: "front", rows: 1000, height: 100, width: 100 }; // 30,000 bytes, 34 frames in a chunk
const CHUNK = 34;

function cacheWith(budget?: number) {
  const asked: Asked[] = [];
  let arrivals = 0;
  const fetchFrames = (camera: string, start: number, stop: number, signal: AbortSignal) =>
    new Promise<FrameBlock>((resolve, reject) => {
      const count = stop - start;
      const bytes = new Uint8Array(count * 30000).map((_, place) => start + Math.floor(place / 30000));
      const answer = () => resolve({ start, count, height: 100, width: 100, bytes });
      signal.addEventListener("abort", () => reject(new DOMException("aborted", "AbortError")));
      asked.push({ camera, start, stop, signal, answer, fail: () => reject(new Error("damaged")) });
    });
  const cache = new FrameCache(fetchFrames, () => arrivals++, budget);
  cache.add(CAMERA);
  return { cache, asked, arrivals: () => arrivals };
}

const settled = () => new Promise((resolve) => setTimeout(resolve, 0));

test("the chunk of a frame is fetched, and the next one with it", async () => {
  const { cache, asked, arrivals } = cacheWith();
  assert.equal(cache.frame("front", 40), null);
  cache.want("front", 40, 1, 1);
  assert.deepEqual(
    asked.map(({ start, stop }) => [start, stop]),
    [
      [CHUNK, 2 * CHUNK],
      [2 * CHUNK, 3 * CHUNK],
    ],
  );
  asked[0]?.answer();
  await settled();
  assert.equal(arrivals(), 1);
  assert.ok(cache.has("front", 67) && !cache.has("front", 68));
  assert.equal(cache.frame("front", 40)?.length, 30000);
  assert.equal(cache.frame("front", 40)?.[0], 40);
});

test("the last chunk ends with the episode", () => {
  const { cache, asked } = cacheWith();
  cache.want("front", 999, 1, 100);
  assert.deepEqual(
    asked.map(({ start, stop }) => [start, stop]),
    [[986, 1000]],
  );
});

test("requests for what is not needed any more are canceled", async () => {
  const { cache, asked } = cacheWith();
  cache.want("front", 0, 1, 1);
  cache.want("front", 500, -1, 1);
  assert.deepEqual(
    asked.map(({ signal }) => signal.aborted),
    [true, true, false, false],
  );
  assert.deepEqual(
    asked.slice(2).map(({ start }) => start),
    [476, 442],
  );
  await settled();
  assert.equal(cache.error("front", 0), null);
});

test("what was not used for longest is forgotten beyond the budget", async () => {
  const { cache, asked } = cacheWith(3 * CHUNK * 30000);
  for (const number of [0, 200, 400, 600]) {
    cache.want("front", number, 1, 0);
    for (const request of asked.splice(0)) request.answer();
    await settled();
    for (const request of asked.splice(0)) request.answer();
    await settled();
  }
  assert.ok(cache.bytesHeld <= 3 * CHUNK * 30000);
  assert.ok(!cache.has("front", 0));
  assert.ok(cache.has("front", 600));
});

test("a chunk that cannot be read is not asked for again", async () => {
  const { cache, asked } = cacheWith();
  cache.want("front", 0, 1, 0);
  asked[0]?.fail();
  await settled();
  assert.match(String(cache.error("front", 3)), /damaged/);
  cache.want("front", 0, 1, 0);
  assert.equal(asked.filter(({ start }) => start === 0).length, 1);
});

test("nothing arrives after the end", async () => {
  const { cache, asked, arrivals } = cacheWith();
  cache.want("front", 0, 1, 0);
  cache.close();
  asked[0]?.answer();
  await settled();
  assert.equal(arrivals(), 0);
});

test("RGB becomes the RGBA of a canvas", () => {
  const rgba = new Uint32Array(2);
  toRgba(new Uint8Array([1, 2, 3, 255, 0, 128]), rgba);
  assert.deepEqual([...new Uint8Array(rgba.buffer)], [1, 2, 3, 255, 255, 0, 128, 255]);
});
