/** A plot of one leaf with a legend of its components and their values. */

import { useEffect, useRef, useState } from "preact/hooks";
import { brief, figure } from "../format";
import type { Player } from "../player";
import { LeafPlot } from "../plots";
import { placeAt } from "../data/series";
import type { SeriesStore } from "../data/series_store";
import { onThemeChange, plotColors, SERIES_COLORS } from "../theme";
import type { EpisodeLeaf, Series } from "../data/types";
import { READABLE, useChanges } from "../use_changes";
import { Skeleton } from "../components/states";

const HEIGHT = 128; // pixels
const TALL = 176; // of several components
const FOLDED = 14; // components in a legend that is not unfolded
const FLAG_HEIGHT = 64;
const AXIS = 22;

export interface Zoom {
  low: number;
  high: number;
}

interface ChartProps {
  leaf: EpisodeLeaf;
  player: Player;
  store: SeriesStore;
  zoom: Zoom | null;
  onZoom: (zoom: Zoom | null) => void;
  hovered: number | null;
  onHover: (step: number | null) => void;
  onClose: () => void;
  hasAxis: boolean;
}

interface LegendProps {
  leaf: EpisodeLeaf;
  series: Series;
  player: Player;
  hovered: number | null; // the step under the pointer
  hidden: ReadonlySet<number>;
  onHidden: (hidden: ReadonlySet<number>) => void;
}

/** Show one component alone if it is chosen among all, else switch it. */
function switched(hidden: ReadonlySet<number>, place: number, all: number, only: boolean): ReadonlySet<number> {
  const others = Array.from({ length: all }, (_, each) => each).filter((each) => each !== place);
  if (only) return others.every((each) => hidden.has(each)) ? new Set() : new Set(others);
  const next = new Set(hidden);
  if (!next.delete(place)) next.add(place);
  return next;
}

function Legend({ leaf, series, player, hovered, hidden, onHidden }: LegendProps) {
  useChanges(player, READABLE);
  const step = hovered ?? player.step;
  const place = placeAt(series.steps, step);
  const { components } = series;
  const isExact = series.steps[place] === step || step > (series.steps.at(-1) ?? -1);
  const [open, setOpen] = useState(false);
  const folded = components.length - FOLDED;
  return (
    <span class="legend">
      {components.slice(0, open ? undefined : FOLDED).map((component, at) => (
        <button
          type="button"
          key={at}
          class={hidden.has(at) ? "off" : ""}
          aria-pressed={!hidden.has(at)}
          title="Click to hide or show; double-click for this one alone"
          onClick={() => onHidden(switched(hidden, at, components.length, false))}
          onDblClick={() => onHidden(switched(hidden, at, components.length, true))}
        >
          <i style={{ background: `var(--series-${(at % SERIES_COLORS) + 1})` }} />
          {component.label && <span class="muted">{component.label}</span>}
          <b class={isExact ? "" : "near"} title={isExact ? undefined : `at step ${series.steps[place]}`}>
            {!isExact && "≈ "}
            {step <= (series.steps.at(-1) ?? -1) ? figure(leaf, component.values[place]) : "–"}
          </b>
        </button>
      ))}
      {folded > 0 && (
        <button type="button" class="link" aria-expanded={open} onClick={() => setOpen(!open)}>
          {open ? "fewer" : `${folded} more`}
        </button>
      )}
      {series.omitted > 0 && <span class="muted">{series.omitted} more are not shown</span>}
    </span>
  );
}

function heightOf(leaf: EpisodeLeaf): number {
  if (leaf.kind === "flag") return FLAG_HEIGHT;
  return leaf.components > 3 ? TALL : HEIGHT;
}

export function LeafChart(props: ChartProps) {
  const { leaf, player, store, zoom, hovered, hasAxis } = props;
  useChanges(store);
  const series = store.get(leaf.name);
  const [hidden, setHidden] = useState<ReadonlySet<number>>(new Set());
  const [colors, setColors] = useState(plotColors);
  const parent = useRef<HTMLDivElement>(null);
  const plot = useRef<LeafPlot | null>(null);
  const current = useRef(props);
  current.current = props;
  const height = heightOf(leaf) + (hasAxis ? AXIS - 6 : 0);

  useEffect(() => store.want(leaf.name, true), [store, leaf.name]);
  useEffect(() => onThemeChange(() => setColors(plotColors())), []);
  useEffect(() => {
    const element = parent.current;
    if (!series || !element) return;
    const made = new LeafPlot(
      element,
      series,
      hidden,
      colors,
      { width: element.clientWidth, height },
      {
        steps: player.steps,
        stepped: leaf.kind === "flag" || /^(u?int|bool)/.test(leaf.dtype),
        hasAxis,
        seek: (step) => player.seek(step),
        zoom: (low, high) => current.current.onZoom({ low, high }),
        hover: (step) => current.current.onHover(step),
      },
    );
    plot.current = made;
    made.setStep(player.step);
    const { zoom: range } = current.current;
    if (range) made.setZoom(range.low, range.high);
    const observer = new ResizeObserver(() => made.setSize(element.clientWidth, height));
    observer.observe(element);
    const stop = player.listen(() => made.setStep(player.step));
    return () => {
      observer.disconnect();
      stop();
      made.close();
      plot.current = null;
    };
  }, [series, colors, hasAxis, player]);
  useEffect(() => plot.current?.setHidden(hidden), [hidden]);
  useEffect(() => {
    const full = { low: 0, high: Math.max(player.steps - 1, 1) };
    const range = zoom ?? full;
    plot.current?.setZoom(range.low, range.high);
  }, [zoom]);

  const error = store.error(leaf.name);
  return (
    <section class="chart" data-testid="chart" data-leaf={leaf.name}>
      <header>
        <h3 title={leaf.name}>{brief(leaf.name)}</h3>
        {series && (
          <Legend leaf={leaf} series={series} player={player} hovered={hovered} hidden={hidden} onHidden={setHidden} />
        )}
        <button type="button" class="quiet close" onClick={props.onClose} aria-label={`Close the plot of ${leaf.name}`}>
          ×
        </button>
      </header>
      {error !== null && <p class="problem">{error instanceof Error ? error.message : String(error)}</p>}
      {!series && error === null && <Skeleton label={leaf.name} lines={2} />}
      <div class="plot" ref={parent} style={{ minHeight: series ? `${height}px` : undefined }} />
    </section>
  );
}
