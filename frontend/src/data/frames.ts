/** Frames of cameras, fetched in chunks ahead of the position and forgotten when they have not been used for longest. */

import type { FrameBlock } from "./api";

export type FetchFrames = (camera: string, start: number, stop: number, signal: AbortSignal) => Promise<FrameBlock>;

export interface Camera {
  name: string;
  rows: number;
  height: number;
  width: number;
}

const CHUNK_BYTES = 1 << 20;
const MOST_FRAMES = 64;
const FEWEST_FRAMES = 4;
const AT_ONCE = 2; // requests for each camera

interface Track {
  camera: Camera;
  size: number; // frames in a chunk
  chunks: Map<number, FrameBlock>;
  waiting: Map<number, AbortController>;
  wanted: number[];
  failed: Map<number, unknown>;
}

/**
 * A cache of the frames of one episode.
 *
 * Chunks are aligned windows of about a megabyte. `want` says what is needed next, most urgent first; requests for
 * anything else are canceled. The least recently used chunks are forgotten beyond `budget` bytes.
 */
export class FrameCache {
  private readonly tracks = new Map<string, Track>();
  private readonly uses = new Map<string, { track: Track; chunk: number; bytes: number }>(); // oldest first
  private bytes = 0;
  private closed = false;

  constructor(
    private readonly fetchFrames: FetchFrames,
    private readonly arrived: () => void,
    private readonly budget = 64 << 20,
  ) {}

  get bytesHeld(): number {
    return this.bytes;
  }

  add(camera: Camera): void {
    const frame = camera.height * camera.width * 3;
    const size = Math.min(Math.max(Math.floor(CHUNK_BYTES / Math.max(frame, 1)), FEWEST_FRAMES), MOST_FRAMES);
    this.tracks.set(camera.name, {
      camera,
      size,
      chunks: new Map(),
      waiting: new Map(),
      wanted: [],
      failed: new Map(),
    });
  }

  /** The pixels of a frame if they are here, as 8-bit RGB. */
  frame(name: string, number: number): Uint8Array | null {
    const track = this.track(name);
    const chunk = Math.floor(number / track.size);
    const block = track.chunks.get(chunk);
    if (!block) return null;
    this.touch(track, chunk, block.bytes.length);
    const size = block.height * block.width * 3;
    const start = (number - block.start) * size;
    return number < block.start + block.count ? block.bytes.subarray(start, start + size) : null;
  }

  has(name: string, number: number): boolean {
    const track = this.track(name);
    const block = track.chunks.get(Math.floor(number / track.size));
    return block !== undefined && number < block.start + block.count;
  }

  error(name: string, number: number): unknown {
    const track = this.track(name);
    return track.failed.get(Math.floor(number / track.size)) ?? null;
  }

  /** Say which frame is shown, the direction in which it moves, and how many frames are needed ahead. */
  want(name: string, number: number, direction: 1 | -1, ahead: number): void {
    const track = this.track(name);
    const last = Math.floor((track.camera.rows - 1) / track.size);
    const current = Math.floor(number / track.size);
    const chunkBytes = track.size * track.camera.height * track.camera.width * 3;
    const share = this.budget / 2 / Math.max(this.tracks.size, 1);
    const most = Math.max(Math.min(Math.ceil(ahead / track.size), Math.floor(share / chunkBytes)), 1);
    track.wanted = [];
    for (let place = 0; place <= most; place++) {
      const chunk = current + direction * place;
      if (chunk >= 0 && chunk <= last) track.wanted.push(chunk);
    }
    for (const [chunk, controller] of track.waiting) {
      if (!track.wanted.includes(chunk)) {
        controller.abort();
        track.waiting.delete(chunk);
      }
    }
    this.fill(track);
  }

  close(): void {
    this.closed = true;
    for (const track of this.tracks.values()) {
      for (const controller of track.waiting.values()) controller.abort();
      track.waiting.clear();
    }
  }

  private track(name: string): Track {
    const track = this.tracks.get(name);
    if (!track) throw new RangeError(`There is not a camera '${name}'.`);
    return track;
  }

  private fill(track: Track): void {
    for (const chunk of track.wanted) {
      if (track.waiting.size >= AT_ONCE) return;
      if (!track.chunks.has(chunk) && !track.waiting.has(chunk) && !track.failed.has(chunk))
        void this.fetch(track, chunk);
    }
  }

  private async fetch(track: Track, chunk: number): Promise<void> {
    const controller = new AbortController();
    track.waiting.set(chunk, controller);
    const start = chunk * track.size;
    const stop = Math.min(start + track.size, track.camera.rows);
    try {
      const block = await this.fetchFrames(track.camera.name, start, stop, controller.signal);
      if (controller.signal.aborted || this.closed) return;
      track.chunks.set(chunk, block);
      this.touch(track, chunk, block.bytes.length);
      this.forget();
    } catch (error) {
      if (controller.signal.aborted || this.closed) return;
      track.failed.set(chunk, error);
    }
    track.waiting.delete(chunk);
    this.arrived();
    this.fill(track);
  }

  private touch(track: Track, chunk: number, bytes: number): void {
    const key = `${chunk} ${track.camera.name}`;
    if (!this.uses.delete(key)) this.bytes += bytes;
    this.uses.set(key, { track, chunk, bytes });
  }

  private forget(): void {
    for (const [key, { track, chunk, bytes }] of this.uses) {
      if (this.bytes <= this.budget) return;
      if (track.wanted[0] === chunk) continue; // what is shown now
      this.uses.delete(key);
      track.chunks.delete(chunk);
      this.bytes -= bytes;
    }
  }
}

/** Convert 8-bit RGB to the RGBA of a canvas. */
export function toRgba(rgb: Uint8Array, rgba: Uint32Array): void {
  for (let pixel = 0, place = 0; pixel < rgba.length; pixel++, place += 3) {
    rgba[pixel] = 0xff000000 | ((rgb[place + 2] ?? 0) << 16) | ((rgb[place + 1] ?? 0) << 8) | (rgb[place] ?? 0);
  }
}
