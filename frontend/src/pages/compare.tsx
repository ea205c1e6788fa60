/** Two datasets side by side: facts that differ, and distributions on common axes. */

import { useState } from "preact/hooks";
import { api } from "../data/api";
import { InParts } from "../components/in_parts";
import { LongText } from "../components/facts";
import { Failure, Skeleton } from "../components/states";
import { brief, count, number, percent } from "../format";
import { useKeys } from "../keys";
import { useRequest } from "../data/request";
import type { Route } from "../router";
import { go, links } from "../router";
import type { ComparedDistribution, Comparison, Summary } from "../data/types";

type CompareRoute = Extract<Route, { page: "compare" }>;

const SIDES = ["a", "b"] as const;

function sum(counts: number[]): number {
  return counts.reduce((all, bin) => all + bin, 0);
}

/** The least and the greatest value of either side. */
function endsOf(summaries: Summary[]): [number | null, number | null] {
  const lows = summaries.map((side) => side.min).filter((value) => value !== null);
  const highs = summaries.map((side) => side.max).filter((value) => value !== null);
  return [lows.length ? Math.min(...lows) : null, highs.length ? Math.max(...highs) : null];
}

interface OverlayProps {
  title: string;
  distribution: ComparedDistribution;
  testid: string;
}

/** Two histograms on the same bins, each as a share of its own total. */
function Overlay({ title, distribution, testid }: OverlayProps) {
  const { counts, labels, summaries } = distribution;
  const [low, high] = endsOf(summaries);
  const [at, setAt] = useState<number | null>(null);
  const totals = counts.map(sum);
  const shares = counts.map((side, place) => side.map((bin) => bin / Math.max(totals[place] ?? 0, 1)));
  const most = Math.max(...shares.flat(), 1e-9);
  const bins = labels.length;
  return (
    <figure class="overlay" data-testid={testid}>
      <figcaption>
        <span class="chart-title" title={title}>
          {title}
        </span>
        <span class="readout">
          {at !== null && (
            <>
              <b>{labels[at]}</b>
              {SIDES.map((side, place) => (
                <span key={side} class={`side ${side}`} title={count(counts[place]?.[at] ?? 0)}>
                  {percent(counts[place]?.[at] ?? 0, totals[place] ?? 0)}
                </span>
              ))}
            </>
          )}
        </span>
      </figcaption>
      <div class="bars" role="img" aria-label={`${title} of both datasets`} onPointerLeave={() => setAt(null)}>
        {Array.from({ length: bins }, (_, place) => (
          <div key={place} class={place === at ? "bin chosen" : "bin"} onPointerEnter={() => setAt(place)}>
            {SIDES.map((side, which) => (
              <span
                key={side}
                class={counts[which]?.[place] ? side : `${side} nothing`}
                style={{ height: `${(100 * (shares[which]?.[place] ?? 0)) / most}%` }}
              />
            ))}
          </div>
        ))}
      </div>
      <div class="ends" aria-hidden="true">
        <span>{number(low)}</span>
        <span>{number(high)}</span>
      </div>
      <table class="summaries">
        <thead>
          <tr>
            <th />
            <th>mean</th>
            <th>std</th>
            <th>min</th>
            <th>max</th>
          </tr>
        </thead>
        <tbody>
          {SIDES.map((side, place) => (
            <tr key={side}>
              <th>
                <i class={`key ${side}`} />
                {side.toUpperCase()}
              </th>
              {(["mean", "std", "min", "max"] as const).map((name) => (
                <td key={name}>{number(summaries[place]?.[name])}</td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </figure>
  );
}

function FactTable({ comparison }: { comparison: Comparison }) {
  const different = comparison.facts.filter((fact) => !fact.same).length;
  const [all, setAll] = useState(different === 0);
  const shown = all ? comparison.facts : comparison.facts.filter((fact) => !fact.same);
  return (
    <section class="panel">
      <div class="table-head">
        <h2>
          Facts{" "}
          <span class="muted">
            {different} of {comparison.facts.length} differ
          </span>
        </h2>
        <label class="choice">
          <input type="checkbox" checked={all} onChange={() => setAll(!all)} data-testid="all-facts" />
          <span>Show those that agree</span>
        </label>
      </div>
      <table class="compared" data-testid="compared-facts">
        <thead>
          <tr>
            <th />
            {SIDES.map((side, place) => (
              <th key={side}>
                <i class={`key ${side}`} />
                {comparison.datasets[place]}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {shown.map((fact) => (
            <tr key={fact.key} class={fact.same ? "same" : "different"} data-testid={fact.same ? "same" : "different"}>
              <th scope="row">{fact.title}</th>
              {fact.texts.map((text, place) => (
                <td key={place} class={text === null || text === "Not provided" ? "muted" : ""}>
                  {text === null ? "–" : <LongText text={text} />}
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  );
}

function OnlyIn({ comparison }: { comparison: Comparison }) {
  if (comparison.only_in.every((names) => names.length === 0)) return null;
  return (
    <section class="columns" data-testid="only-in">
      {SIDES.map((side, place) => (
        <section class="panel" key={side}>
          <h2>
            <i class={`key ${side}`} /> Leaves only in {comparison.datasets[place]}
          </h2>
          {comparison.only_in[place]?.length ? (
            <ul class="names">
              {comparison.only_in[place].map((name) => (
                <li key={name}>
                  <code>{name}</code>
                </li>
              ))}
            </ul>
          ) : (
            <p class="muted">None.</p>
          )}
        </section>
      ))}
    </section>
  );
}

export function ComparePage({ route }: { route: CompareRoute }) {
  const { a, b } = route;
  const comparison = useRequest(`${a}\n${b}`, (signal) => api.compare(a, b, signal));
  useKeys("Comparison", [
    { keys: ["s"], shown: "s", does: "swap the two", run: () => go(links.compare(b, a)) },
    { keys: ["u"], shown: "u", does: "all datasets", run: () => go(links.catalog()) },
  ]);
  const heading = (
    <header class="heading">
      <h1 class="versus">
        {[a, b].map((id, place) => (
          <span key={place}>
            <i class={`key ${SIDES[place]}`} />
            <a href={links.dataset(id)}>{id}</a>
          </span>
        ))}
      </h1>
      <button type="button" onClick={() => go(links.compare(b, a))} data-testid="swap">
        Swap
      </button>
    </header>
  );
  if (comparison.error !== null) {
    return (
      <>
        {heading}
        <Failure error={comparison.error} title="Could not load the comparison" onRetry={comparison.reload} />
      </>
    );
  }
  const found = comparison.data;
  if (!found) {
    return (
      <>
        {heading}
        <Skeleton lines={8} label="the comparison" />
      </>
    );
  }
  return (
    <>
      {heading}
      <section class="overlays panel">
        {found.returns.map((one, place) => (
          <Overlay
            key={place}
            title={found.returns.length > 1 ? `Return ${one.label}` : "Return"}
            distribution={one}
            testid="compared-returns"
          />
        ))}
        <Overlay title="Length" distribution={found.lengths} testid="compared-lengths" />
      </section>
      <FactTable comparison={found} />
      <OnlyIn comparison={found} />
      {found.leaves.length > 0 && (
        <section>
          <h2 class="section-title">
            Leaves in both <span class="muted">{new Set(found.leaves.map((leaf) => leaf.name)).size}</span>
          </h2>
          <InParts
            key={`${a}\n${b}`}
            items={found.leaves}
            noun="plots"
            show={(leaf, place) => (
              <section class="panel multiple" key={place}>
                <Overlay
                  title={`${brief(leaf.name)} ${leaf.label}`.trim()}
                  distribution={leaf}
                  testid="compared-leaf"
                />
              </section>
            )}
          />
        </section>
      )}
    </>
  );
}
