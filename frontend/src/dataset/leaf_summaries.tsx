/** The distributions of all leaves of a dataset as small multiples. */

import { useState } from "preact/hooks";
import { HistogramChart } from "../components/histogram";
import { InParts } from "../components/in_parts";
import { Failure, Outlines } from "../components/states";
import { api } from "../data/api";
import { useRequest } from "../data/request";
import type { LeafSummary } from "../data/types";
import { brief, count, counted, percent, shape, shortened } from "../format";

function TextCounts({ texts }: { texts: LeafSummary["texts"] }) {
  const most = Math.max(...texts.map((text) => text.count), 1);
  return (
    <ol class="text-counts">
      {texts.map(({ text, count: times }) => (
        <li key={text} title={text}>
          <i style={{ width: `${(100 * times) / most}%` }} />
          <span class="cut">{shortened(text, 300) || <em class="muted">empty</em>}</span>
          <b>{count(times)}</b>
        </li>
      ))}
    </ol>
  );
}

/** How often flags are true, all of them in one card. */
function FlagShares({ leaves }: { leaves: LeafSummary[] }) {
  if (leaves.length === 0) return null;
  const flags = leaves.flatMap((leaf) =>
    leaf.components.map((one) => ({ name: leaf.name + one.label, share: one.summary.mean })),
  );
  return (
    <section class="panel multiple" data-testid="flags">
      <header>
        <h3>Flags</h3>
        <span class="muted">how often true</span>
      </header>
      {flags.map(({ name, share }) => (
        <p class="flag-share" key={name}>
          <span class="cut" title={name}>
            {brief(name)}
          </span>
          <i class="track">
            <i style={{ width: `${100 * (share ?? 0)}%` }} />
          </i>
          <b>{share === null ? "–" : percent(share, 1)}</b>
        </p>
      ))}
    </section>
  );
}

const FOLDED = 8; // components of a leaf that are shown at first

function LeafMultiple({ leaf }: { leaf: LeafSummary }) {
  const [open, setOpen] = useState(false);
  const shown = open ? leaf.components : leaf.components.slice(0, FOLDED);
  const isSingle = leaf.components.length <= 1;
  return (
    <section
      class={isSingle ? "panel multiple" : "panel multiple many"}
      data-testid="leaf-summary"
      data-leaf={leaf.name}
    >
      <header>
        <h3 title={leaf.name}>{brief(leaf.name)}</h3>
        <span class="muted fixed">
          {leaf.dtype} {leaf.shape.length ? shape(leaf.shape) : ""}
        </span>
      </header>
      {leaf.texts.length > 0 && <TextCounts texts={leaf.texts} />}
      {leaf.components.length === 0 && leaf.texts.length === 0 && <p class="muted">Nothing to count.</p>}
      <div class={isSingle ? "" : "components"}>
        {shown.map((one, place) => (
          <HistogramChart
            key={place}
            title={one.label}
            summary={one.summary}
            histogram={one.histogram}
            unit="values"
            testid="leaf-histogram"
            compact={!isSingle}
          />
        ))}
      </div>
      {(leaf.components.length > FOLDED || leaf.omitted > 0) && (
        <p class="muted">
          {leaf.components.length > FOLDED && (
            <button type="button" class="link" onClick={() => setOpen(!open)} aria-expanded={open}>
              {open ? "Show fewer" : `Show all ${leaf.components.length}`}
            </button>
          )}
          {leaf.omitted > 0 && ` ${counted(leaf.omitted, "further component")} not shown.`}
        </p>
      )}
    </section>
  );
}

function FrameLeaves({ leaves }: { leaves: LeafSummary[] }) {
  if (leaves.length === 0) return null;
  return (
    <section class="panel multiple" data-testid="frame-leaves">
      <header>
        <h3>Cameras</h3>
        <span class="muted">shown with each episode</span>
      </header>
      {leaves.map((leaf) => (
        <p class="pair" key={leaf.name}>
          <span class="cut" title={leaf.name}>
            {brief(leaf.name)}
          </span>
          <span class="muted fixed">{shape(leaf.shape)}</span>
        </p>
      ))}
    </section>
  );
}

/** The leaves that have distributions: those of several components, which take whole rows, come first. */
function byShape(leaves: LeafSummary[]): LeafSummary[] {
  const shown = leaves.filter((leaf) => leaf.kind !== "flag" && leaf.kind !== "frames");
  const isWide = (leaf: LeafSummary) => Number(leaf.components.length > 1);
  return shown.sort((a, b) => isWide(b) - isWide(a));
}

export function Leaves({ id, version, ready }: { id: string; version: number; ready: boolean }) {
  const leaves = useRequest(ready ? `${version} ${id}` : null, (signal) => api.leaves(id, signal));
  return (
    <section data-testid="leaf-summaries">
      <h2 class="section-title">
        Leaves{" "}
        {leaves.data && (
          <span class="muted">
            {count(leaves.data.leaves.length)}, of {counted(leaves.data.steps, "step")} in{" "}
            {leaves.data.episodes === leaves.data.of_episodes
              ? counted(leaves.data.episodes, "episode")
              : `${count(leaves.data.episodes)} evenly spaced episodes`}
          </span>
        )}
      </h2>
      {leaves.error !== null && (
        <Failure error={leaves.error} title="Could not load the leaves" onRetry={leaves.reload} compact />
      )}
      {!leaves.data && leaves.error === null && <Outlines count={4} height={150} label="the leaves" />}
      {leaves.data && (
        <InParts
          key={id}
          items={byShape(leaves.data.leaves)}
          noun="leaves"
          show={(leaf) => <LeafMultiple key={leaf.name} leaf={leaf} />}
        >
          <FlagShares leaves={leaves.data.leaves.filter((leaf) => leaf.kind === "flag")} />
          <FrameLeaves leaves={leaves.data.leaves.filter((leaf) => leaf.kind === "frames")} />
        </InParts>
      )}
    </section>
  );
}
