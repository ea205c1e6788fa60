/** Bars of a distribution, from which a range of bins can be chosen with the pointer or the keys. */

import { useId, useState } from "preact/hooks";
import { isWhole } from "../filter";
import { count, number, percent } from "../format";
import type { Histogram, Summary } from "../data/types";

interface HistogramProps {
  title: string;
  summary: Summary;
  histogram: Histogram;
  unit: string; // what is counted, such as "episodes"
  testid: string;
  onRange?: (first: number, last: number) => void;
  compact?: boolean;
}

function total(counts: number[]): number {
  return counts.reduce((sum, bin) => sum + bin, 0);
}

function between(first: number, last: number): [number, number] {
  return first <= last ? [first, last] : [last, first];
}

function labelOf(histogram: Histogram, first: number, last: number): string {
  const [low, high] = [histogram.labels[first] ?? "", histogram.labels[last] ?? ""];
  if (first === last) return low;
  const [from] = low.split(" to ");
  return `${from} to ${high.split(" to ").at(-1)}`;
}

export function SummaryLine({ summary }: { summary: Summary }) {
  return (
    <dl class="summary">
      {(["mean", "std", "min", "max"] as const).map((name) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd>{number(summary[name])}</dd>
        </div>
      ))}
    </dl>
  );
}

/** The place of the mean as a share of the width. */
function meanPlace(summary: Summary, histogram: Histogram): number | null {
  const { edges } = histogram;
  const [low, high] = [edges[0], edges.at(-1)];
  if (summary.mean === null || low === undefined || high === undefined || !(high > low)) return null;
  return (summary.mean + (isWhole(histogram) ? 0.5 : 0) - low) / (high - low);
}

export function HistogramChart(props: HistogramProps) {
  const { title, summary, histogram, unit, testid, onRange, compact = false } = props;
  const { counts } = histogram;
  const [at, setAt] = useState<number | null>(null);
  const [from, setFrom] = useState<number | null>(null);
  const id = useId();
  const all = total(counts);
  const most = Math.max(...counts, 1);
  const [first, last] = at === null ? [-1, -1] : between(from ?? at, at);
  const inRange = at === null ? 0 : total(counts.slice(first, last + 1));
  const mean = meanPlace(summary, histogram);

  const choose = (a: number, b: number) => onRange?.(...between(a, b));
  const onKey = (event: KeyboardEvent) => {
    const move = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (move !== undefined) {
      event.preventDefault();
      const place = Math.min(Math.max((at ?? (move > 0 ? -1 : counts.length)) + move, 0), counts.length - 1);
      setFrom(event.shiftKey ? (from ?? at ?? place) : null);
      setAt(place);
    } else if ((event.key === "Enter" || event.key === " ") && at !== null && onRange) {
      event.preventDefault();
      choose(from ?? at, at);
    } else if (event.key === "Escape" && at !== null) {
      event.preventDefault();
      setAt(null);
      setFrom(null);
    }
  };

  return (
    <figure class={compact ? "histogram compact" : "histogram"} data-testid={testid}>
      <figcaption>
        <span class="chart-title" id={id} title={title}>
          {title}
        </span>
        <span class="readout" data-testid={`${testid}-readout`}>
          {at === null ? null : (
            <>
              <b>{labelOf(histogram, first, last)}</b> {count(inRange)}{" "}
              <span class="muted">{percent(inRange, all)}</span>
            </>
          )}
        </span>
      </figcaption>
      <div
        class={onRange ? "bars active" : "bars"}
        role={onRange ? "slider" : "img"}
        tabIndex={onRange ? 0 : -1}
        aria-labelledby={id}
        aria-valuemin={onRange ? 0 : undefined}
        aria-valuemax={onRange ? counts.length - 1 : undefined}
        aria-valuenow={onRange ? (at ?? 0) : undefined}
        aria-valuetext={
          at === null ? `${count(all)} ${unit}` : `${labelOf(histogram, first, last)}: ${count(inRange)} ${unit}`
        }
        onKeyDown={onKey}
        onPointerLeave={() => {
          setAt(null);
          setFrom(null);
        }}
        onBlur={() => setAt(null)}
      >
        {counts.map((bin, place) => (
          <div
            key={place}
            class={place >= first && place <= last ? "bin chosen" : "bin"}
            data-testid={`${testid}-bar`}
            data-count={bin}
            onPointerEnter={() => setAt(place)}
            onPointerDown={(event) => {
              if (!onRange || event.button !== 0) return;
              if (event.target instanceof Element) event.target.releasePointerCapture(event.pointerId);
              setFrom(place);
              setAt(place);
            }}
            onPointerUp={() => {
              if (onRange && from !== null) choose(from, place);
              setFrom(null);
            }}
          >
            <span style={{ height: bin ? `max(${(100 * bin) / most}%, 1.5px)` : "0" }} />
          </div>
        ))}
        {mean !== null && <i class="mean" style={{ left: `${100 * mean}%` }} title={`mean ${number(summary.mean)}`} />}
      </div>
      <div class="ends" aria-hidden="true">
        <span>{number(summary.min)}</span>
        {histogram.not_finite > 0 && <span class="warn">{count(histogram.not_finite)} not finite</span>}
        <span>{number(summary.max)}</span>
      </div>
      {!compact && <SummaryLine summary={summary} />}
    </figure>
  );
}
