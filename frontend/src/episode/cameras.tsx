/** The cameras of an episode side by side, on canvases that follow the position. */

import { useEffect, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import { api } from "../data/api";
import { shortest } from "../format";
import { FrameCache, toRgba } from "../data/frames";
import type { Player } from "../player";
import type { EpisodeLeaf } from "../data/types";

const GAP = 12; // pixels between cameras
const NARROWEST = 150; // pixels
const SMALL = 240; // rows of a frame that is enlarged by whole factors, so that its pixels stay square
const AHEAD = 2; // seconds of frames that are fetched before they are needed

interface CamerasProps {
  dataset: string;
  episode: number;
  revision: string;
  leaves: EpisodeLeaf[]; // of frames
  player: Player;
}

interface Size {
  width: number;
  height: number;
}

function scale(room: Size, frame: Size): number {
  const largest = Math.min(room.width / frame.width, room.height / frame.height);
  return frame.height <= SMALL && largest >= 1 ? Math.floor(largest) : largest;
}

/** Sizes of all cameras in the given width: as many in a row as are not too small, and all of the same height. */
function sizesOf(frames: Size[], width: number, height: number): Size[] {
  const inRow = Math.max(Math.min(frames.length, Math.floor((width + GAP) / NARROWEST)), 1);
  const room = width - GAP * (inRow - 1);
  const [first] = frames;
  if (first && frames.every((frame) => frame.width === first.width && frame.height === first.height)) {
    const factor = scale({ width: room / inRow, height }, first);
    return frames.map((frame) => ({
      width: Math.round(frame.width * factor),
      height: Math.round(frame.height * factor),
    }));
  }
  const aspects = frames.map((frame) => frame.width / frame.height);
  const rows = Array.from({ length: Math.ceil(frames.length / inRow) }, (_, row) =>
    aspects.slice(row * inRow, (row + 1) * inRow),
  );
  const widest = Math.max(...rows.map((row) => row.reduce((sum, aspect) => sum + aspect, 0)));
  const common = Math.floor(Math.min(height, room / widest));
  return aspects.map((aspect) => ({ width: Math.round(common * aspect), height: common }));
}

/** Draws the frames of one camera; the last frame stays until the next one is here. */
class Screen {
  private readonly context: CanvasRenderingContext2D | null;
  private readonly image: ImageData;
  private readonly pixels: Uint32Array;
  private drawn = 0;
  private shown = -1;

  constructor(
    private readonly canvas: HTMLCanvasElement,
    private readonly cache: FrameCache,
    private readonly leaf: EpisodeLeaf,
    size: Size,
  ) {
    this.canvas.width = size.width;
    this.canvas.height = size.height;
    this.context = canvas.getContext("2d", { alpha: false });
    this.image = new ImageData(size.width, size.height);
    this.pixels = new Uint32Array(this.image.data.buffer);
  }

  draw(step: number): void {
    const number = Math.min(step, this.leaf.rows - 1);
    if (number === this.shown) return;
    const frame = this.cache.frame(this.leaf.name, number);
    if (!frame || frame.length !== this.pixels.length * 3) return;
    toRgba(frame, this.pixels);
    this.context?.putImageData(this.image, 0, 0);
    this.shown = number;
    this.drawn++;
    this.canvas.dataset["frame"] = String(number);
    this.canvas.dataset["drawn"] = String(this.drawn);
  }
}

function titleOf(leaf: EpisodeLeaf): string {
  return leaf.frame ? `${leaf.frame.width}×${leaf.frame.height}` : "";
}

export function Cameras({ dataset, episode, revision, leaves, player }: CamerasProps) {
  const box = useRef<HTMLDivElement>(null);
  const canvases = useRef(new Map<string, HTMLCanvasElement>());
  const [width, setWidth] = useState(0);
  const [failure, setFailure] = useState("");
  const isLaidOut = width > 0;
  const names = leaves.map((leaf) => leaf.name).join("\n");

  const cache = useMemo(() => {
    const made = new FrameCache(
      (leaf, start, stop, signal) => api.frames({ dataset, episode, revision, leaf }, start, stop, signal),
      () => player.changed(),
    );
    for (const leaf of leaves)
      if (leaf.frame && leaf.rows) made.add({ name: leaf.name, rows: leaf.rows, ...leaf.frame });
    return made;
  }, [dataset, episode, revision, names, player]);

  useEffect(() => {
    const shown = leaves.filter((leaf) => leaf.frame && leaf.rows > 0);
    const screens = shown.flatMap((leaf) => {
      const canvas = canvases.current.get(leaf.name);
      return canvas && leaf.frame ? [new Screen(canvas, cache, leaf, leaf.frame)] : [];
    });
    const update = () => {
      const { step } = player;
      const ahead = player.playing ? Math.ceil(player.rate * player.speed * AHEAD) : 1;
      let failed: unknown = null;
      for (const leaf of shown) {
        const number = Math.min(step, leaf.rows - 1);
        cache.want(leaf.name, number, player.direction, ahead);
        failed ??= cache.error(leaf.name, number);
      }
      setFailure(failed === null ? "" : failed instanceof Error ? failed.message : String(failed));
      for (const screen of screens) screen.draw(step);
    };
    player.setReady((step) =>
      shown.every((leaf) => {
        const number = Math.min(step, leaf.rows - 1);
        return cache.has(leaf.name, number) || cache.error(leaf.name, number) !== null;
      }),
    );
    const stop = player.listen(update);
    update();
    return () => {
      stop();
      player.setReady(() => true);
    };
  }, [cache, isLaidOut]);

  useEffect(() => () => cache.close(), [cache]);
  useLayoutEffect(() => {
    if (!box.current) return;
    setWidth(box.current.clientWidth);
    const observer = new ResizeObserver(([entry]) => entry && setWidth(entry.contentRect.width));
    observer.observe(box.current);
    return () => observer.disconnect();
  }, []);

  const height = Math.max(Math.min(innerHeight * 0.44, 480), 160);
  const titles = shortest(leaves.map((leaf) => leaf.name));
  const sizes = sizesOf(
    leaves.map((leaf) => leaf.frame ?? { width: 1, height: 1 }),
    width,
    height,
  );
  return (
    <div class="cameras" ref={box} data-testid="cameras">
      {isLaidOut &&
        leaves.map((leaf, place) => (
          <figure key={leaf.name} style={{ width: `${sizes[place]?.width ?? 0}px` }}>
            <canvas
              ref={(element) => {
                if (element) canvases.current.set(leaf.name, element);
              }}
              class={(leaf.frame?.height ?? 0) <= SMALL ? "pixels" : ""}
              style={{ width: `${sizes[place]?.width ?? 0}px`, height: `${sizes[place]?.height ?? 0}px` }}
              role="img"
              aria-label={`Camera ${leaf.name}`}
              data-testid="camera"
              data-leaf={leaf.name}
            />
            <figcaption>
              <span class="cut" title={leaf.name}>
                {titles[place]}
              </span>
              <span class="muted">{titleOf(leaf)}</span>
            </figcaption>
          </figure>
        ))}
      {failure && (
        <p class="problem" role="alert" data-testid="frames-error">
          {failure}
        </p>
      )}
    </div>
  );
}
