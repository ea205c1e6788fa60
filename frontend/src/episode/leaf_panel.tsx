/** The leaves of an episode with their values at the current step, from which the plots are chosen. */

import { useEffect, useState } from "preact/hooks";
import { count, figure, shape } from "../format";
import type { Player } from "../player";
import { placeAt } from "../data/series";
import type { SeriesStore } from "../data/series_store";
import type { EpisodeLeaf } from "../data/types";
import { READABLE, useChanges } from "../use_changes";

const FOLDED = 8; // components that are shown before the rest is asked for
const LOADED = 40; // leaves whose values are loaded without being chosen

interface LeafPanelProps {
  leaves: EpisodeLeaf[];
  agents: string[];
  chosen: ReadonlySet<string>;
  onChoose: (name: string, on: boolean) => void;
  player: Player;
  store: SeriesStore;
}

export function hasSeries(leaf: EpisodeLeaf): boolean {
  return leaf.kind === "number" || leaf.kind === "flag";
}

/** The name of a leaf without that of its agent. */
export function shortName(leaf: { name: string; agent: string | null }): string {
  const prefix = `agents/${leaf.agent ?? ""}/`;
  return leaf.agent !== null && leaf.name.startsWith(prefix) ? leaf.name.slice(prefix.length) : leaf.name;
}

function Values({ leaf, step, store }: { leaf: EpisodeLeaf; step: number; store: SeriesStore }) {
  const [open, setOpen] = useState(false);
  const series = store.get(leaf.name);
  if (store.error(leaf.name) !== null) return <span class="values warn">cannot be read</span>;
  if (!series) return <span class="values none">…</span>;
  if (step > (series.steps.at(-1) ?? -1)) return <span class="values none">ended</span>;
  const place = placeAt(series.steps, step);
  const isExact = series.steps[place] === step;
  const shown = open ? series.components : series.components.slice(0, FOLDED);
  const more = series.components.length - shown.length + (open ? 0 : series.omitted);
  return (
    <span
      class={series.components.length === 1 ? "values one" : "values"}
      title={isExact ? undefined : `at step ${series.steps[place]}`}
    >
      {shown.map((component, at) => {
        const value = component.values[place];
        return (
          <span key={at} class={isExact ? "" : "near"}>
            {!isExact && "≈ "}
            {figure(leaf, value)}
          </span>
        );
      })}
      {(more > 0 || open) && (
        <button
          type="button"
          class="link"
          onClick={(event) => {
            event.preventDefault();
            setOpen(!open);
          }}
        >
          {open ? "less" : `+${more}`}
        </button>
      )}
    </span>
  );
}

function Row({ leaf, props, step }: { leaf: EpisodeLeaf; props: LeafPanelProps; step: number }) {
  const isWide = hasSeries(leaf) && leaf.components > 1;
  const canChoose = leaf.rows > 0 && (leaf.kind !== "frames" || leaf.frame !== null);
  return (
    <label
      class={isWide ? "leaf wide" : "leaf"}
      onMouseDown={(event) => event.preventDefault()}
      data-testid="leaf"
      data-leaf={leaf.name}
    >
      <input
        type="checkbox"
        checked={props.chosen.has(leaf.name)}
        disabled={!canChoose}
        onChange={(event) => props.onChoose(leaf.name, event.currentTarget.checked)}
      />
      <span class="leaf-name" title={`${leaf.name} · ${leaf.dtype} ${shape(leaf.shape)}`}>
        <span class="cut">{shortName(leaf)}</span>
        <small>
          {leaf.kind === "frames" && leaf.frame
            ? `${leaf.frame.width}×${leaf.frame.height}`
            : leaf.shape.length
              ? shape(leaf.shape)
              : leaf.kind === "number"
                ? ""
                : leaf.kind}
        </small>
      </span>
      {hasSeries(leaf) && leaf.rows > 0 && <Values leaf={leaf} step={step} store={props.store} />}
    </label>
  );
}

export function LeafPanel(props: LeafPanelProps) {
  const { leaves, agents, player, store } = props;
  useChanges(player, READABLE);
  useChanges(store);
  useEffect(() => {
    for (const leaf of leaves.filter((leaf) => hasSeries(leaf) && leaf.rows > 0).slice(0, LOADED))
      store.want(leaf.name);
  }, [store, leaves]);
  const groups: (string | null)[] = agents.length ? [...agents] : [];
  if (leaves.some((leaf) => leaf.agent === null) || groups.length === 0) groups.unshift(null);
  return (
    <section class="panel leaves" aria-label="Values at this step" data-testid="leaves">
      <h2>
        Values <span class="muted fixed">at step {count(player.step)}</span>
      </h2>
      {groups.map((agent, place) => {
        const own = leaves.filter((leaf) => leaf.agent === agent);
        const rows = own.map((leaf) => <Row key={leaf.name} leaf={leaf} props={props} step={player.step} />);
        if (agent === null) return <div key="">{rows}</div>;
        return (
          <details key={agent} open={place < 4} data-testid="agent">
            <summary>
              {agent} <span class="muted">{own.length}</span>
            </summary>
            {rows}
          </details>
        );
      })}
    </section>
  );
}
