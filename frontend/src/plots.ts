/** A plot of one leaf over the steps of an episode, with the position, shared zoom and a shared cursor. */

import uPlot from "uplot";
import { number } from "./format";
import type { PlotColors } from "./theme";
import type { Series } from "./data/types";

export interface PlotOptions {
  steps: number; // of the episode, so that all plots have the same axis
  stepped: boolean;
  hasAxis: boolean;
  seek: (step: number) => void;
  zoom: (low: number, high: number) => void;
  hover: (step: number | null) => void;
}

const FONT = "11px system-ui, sans-serif";
const LEFT = 56; // pixels of the vertical axis, the same in all plots
const RIGHT = 22; // half of a long number below the end of the axis
const TOP = 6;
const MOST_DOTS = 16; // components whose values are dotted under the pointer
const INCREMENTS = Array.from({ length: 8 }, (_, power) => [1, 2, 5].map((digit) => digit * 10 ** power)).flat();
const CLICK = 4; // pixels that a pointer may move in a click
const AXIS = 22;

const GREATEST = 1e307; // beyond which the distance of two numbers is not finite

/** The bounds of the vertical axis for the least and the greatest value; null if there is none. */
export function boundsOf(low: number | null, high: number | null): uPlot.Range.MinMax {
  if (low === null || high === null) return [0, 1];
  if (low === high) {
    const half = Math.abs(low) / 2 || 1;
    return [low - half, low + half];
  }
  return uPlot.rangeNum(low, high, 0.1, true);
}

function drawable(value: number | null): number | null {
  return value === null ? null : Math.min(Math.max(value, -GREATEST), GREATEST);
}

export class LeafPlot {
  private readonly plot: uPlot;
  private readonly playhead: HTMLElement;
  private step = 0;

  constructor(
    parent: HTMLElement,
    series: Series,
    hidden: ReadonlySet<number>,
    colors: PlotColors,
    size: { width: number; height: number },
    private readonly options: PlotOptions,
  ) {
    this.plot = new uPlot(this.layout(series, hidden, colors, size), this.data(series), parent);
    this.playhead = document.createElement("div");
    this.playhead.className = "playhead";
    this.plot.over.append(this.playhead);
    this.listenToClicks();
  }

  setStep(step: number): void {
    this.step = step;
    const place = this.plot.valToPos(step, "x");
    const isInside = place >= -0.5 && place <= this.plot.over.clientWidth + 0.5;
    this.playhead.style.transform = `translateX(${place}px)`;
    this.playhead.style.visibility = isInside ? "visible" : "hidden";
  }

  setZoom(low: number, high: number): void {
    const { min, max } = this.plot.scales["x"] ?? {};
    if (min !== low || max !== high) this.plot.setScale("x", { min: low, max: high });
  }

  setHidden(hidden: ReadonlySet<number>): void {
    for (let place = 1; place < this.plot.series.length; place++) {
      const show = !hidden.has(place - 1);
      if (this.plot.series[place]?.show !== show) this.plot.setSeries(place, { show });
    }
  }

  setSize(width: number, height: number): void {
    this.plot.setSize({ width, height });
    this.setStep(this.step);
  }

  close(): void {
    this.plot.destroy();
  }

  private data(series: Series): uPlot.AlignedData {
    return [series.steps, ...series.components.map((component) => component.values.map(drawable))];
  }

  private layout(
    series: Series,
    hidden: ReadonlySet<number>,
    colors: PlotColors,
    size: { width: number; height: number },
  ): uPlot.Options {
    const stepped = uPlot.paths.stepped?.({ align: 1 });
    const end = Math.max(this.options.steps - 1, 1);
    const axis = { stroke: colors.ink, font: FONT, ticks: { show: false }, border: { show: false } };
    return {
      ...size,
      padding: [TOP, RIGHT, this.options.hasAxis ? 0 : TOP, 0],
      legend: { show: false },
      scales: {
        x: { time: false, min: 0, max: end, auto: false },
        y: { range: (_, low: number | null, high: number | null) => boundsOf(low, high) },
      },
      axes: [
        {
          ...axis,
          show: true,
          size: this.options.hasAxis ? AXIS : 0,
          gap: 4,
          incrs: INCREMENTS,
          values: (_, ticks) => ticks.map((tick) => (this.options.hasAxis ? number(tick) : "")),
          grid: { stroke: colors.grid, width: 1 },
        },
        {
          ...axis,
          size: LEFT,
          gap: 6,
          space: 26,
          values: (_, ticks) => ticks.map((tick) => number(tick, 5)),
          grid: { stroke: colors.grid, width: 1 },
        },
      ],
      cursor: {
        y: false,
        points: { size: 5, show: series.components.length <= MOST_DOTS },
        sync: { key: "episode", setSeries: false },
        drag: { x: true, y: false, dist: CLICK, setScale: false },
        bind: { dblclick: () => () => this.zoomOut(end) },
      },
      hooks: {
        setSelect: [(plot) => this.selected(plot)],
        setScale: [() => this.playhead && this.setStep(this.step)],
        setCursor: [(plot) => this.hovered(plot)],
      },
      series: [
        {},
        ...series.components.map((component, place) => ({
          label: component.label,
          show: !hidden.has(place),
          stroke: colors.series[place % colors.series.length] ?? colors.ink,
          width: 1.5,
          points: { show: series.steps.length < 2 },
          ...(this.options.stepped && stepped ? { paths: stepped } : {}),
        })),
      ],
    };
  }

  private zoomOut(end: number): null {
    this.options.zoom(0, end);
    return null;
  }

  private selected(plot: uPlot): void {
    if (plot.select.width < CLICK) return;
    const low = plot.posToVal(plot.select.left, "x");
    const high = plot.posToVal(plot.select.left + plot.select.width, "x");
    plot.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
    if (high - low >= 1) this.options.zoom(low, high);
  }

  private hovered(plot: uPlot): void {
    const left = plot.cursor.left ?? -1;
    const own = plot.cursor.event !== undefined && plot.cursor.event !== null;
    if (own || left < 0) this.options.hover(left < 0 ? null : Math.round(plot.posToVal(left, "x")));
  }

  private listenToClicks(): void {
    let pressedAt = NaN;
    this.plot.over.addEventListener("pointerdown", (event) => {
      pressedAt = event.button === 0 ? event.clientX : NaN;
    });
    this.plot.over.addEventListener("pointerup", (event) => {
      if (!(Math.abs(event.clientX - pressedAt) < CLICK)) return;
      const { left } = this.plot.over.getBoundingClientRect();
      this.options.seek(Math.round(this.plot.posToVal(event.clientX - left, "x")));
    });
  }
}
