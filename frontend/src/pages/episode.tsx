/** One episode: its cameras, its plots and its values, all at the position of the scrubber. */

import type { ComponentChildren } from "preact";
import { useCallback, useEffect, useMemo, useRef, useState } from "preact/hooks";
import { api, outdated } from "../data/api";
import { Cameras } from "../episode/cameras";
import { DropDialog, MarkDialog } from "../components/edits";
import type { Zoom } from "../episode/leaf_chart";
import { LeafChart } from "../episode/leaf_chart";
import { hasSeries, LeafPanel, shortName } from "../episode/leaf_panel";
import { LongText } from "../components/facts";
import { Failure, Skeleton } from "../components/states";
import { TextLeaf } from "../episode/text_leaf";
import { say } from "../shell/toasts";
import { Transport } from "../episode/transport";
import { count, number, value } from "../format";
import { useKeys } from "../keys";
import { Player } from "../player";
import { useRequest } from "../data/request";
import type { Route } from "../router";
import { go, links, note, parseRoute } from "../router";
import { SeriesStore } from "../data/series_store";
import { clearTrail, getTrail, setTrail } from "../trail";
import type { Episode, EpisodeLeaf, Json } from "../data/types";
import { useChanges } from "../use_changes";

type EpisodeRoute = Extract<Route, { page: "episode" }>;

const DEFAULT_RATE = 30; // steps per second
const MOST_POINTS = 10_000; // of a plot; longer episodes are shown by the extremes of ranges of steps
const FIRST_PLOTS = 4;
const WIDEST_PLOT = 64; // components of a leaf that is plotted without being asked for
const FAR = 10; // steps of Shift with an arrow key

/** Which leaves people chose last, so that the next episode shows the same. */
const choices = new Map<string, ReadonlySet<string>>();

function firstChoice(leaves: EpisodeLeaf[]): ReadonlySet<string> {
  const shown = leaves.filter((leaf) => (leaf.kind === "frames" || leaf.kind === "text") && leaf.rows > 0);
  const plotted = leaves.filter(
    (leaf) => hasSeries(leaf) && leaf.rows > 0 && leaf.components > 0 && leaf.components <= WIDEST_PLOT,
  );
  const parts = shown.length ? ["rewards", "actions"] : ["rewards", "actions", "observations"];
  const plots = parts.flatMap((part) => plotted.filter((leaf) => shortName(leaf).startsWith(part)));
  return new Set([...shown, ...plots.slice(0, FIRST_PLOTS)].map((leaf) => leaf.name));
}

interface Neighbors {
  n: number; // the episode between them
  previous: { id: number; place: number | null } | null;
  next: { id: number; place: number | null } | null;
  place: number | null; // in the filtered table from which the episode was opened
  total: number;
}

/** The episodes before and after this one: in the table from which it was opened, else by number. */
function useNeighbors(id: string, n: number): Neighbors | null {
  const trail = getTrail(id);
  const asked = useRequest(
    `${id} ${n} ${JSON.stringify(trail)}`,
    async (signal): Promise<Neighbors> => {
      if (trail) {
        const { where, sort, descending, place } = trail;
        const offset = Math.max(place - 1, 0);
        const found = await api.episodes(id, { where, sort, descending, offset, limit: 3 }, signal);
        const ids = found.rows.map((row) => Number(row[0]));
        const at = ids.indexOf(n);
        if (at >= 0) {
          const neighbor = (by: number) => {
            const other = ids[at + by];
            return other === undefined ? null : { id: other, place: offset + at + by };
          };
          return {
            n,
            previous: neighbor(-1),
            next: neighbor(1),
            place: where ? offset + at : null,
            total: found.total,
          };
        }
      }
      const { of } = await api.episodes(id, { where: "", sort: "", descending: false, offset: 0, limit: 1 }, signal);
      const neighbor = (other: number) => (other >= 0 && other < of ? { id: other, place: null } : null);
      return { n, previous: neighbor(n - 1), next: neighbor(n + 1), place: null, total: of };
    },
    true,
  );
  return asked.data?.n === n ? asked.data : null;
}

function returnText(total: Episode["return"]): string {
  return Array.isArray(total) ? total.map((part) => number(part)).join(", ") : number(total);
}

function endingOf(episode: Episode): string {
  if (episode.terminated && episode.truncated) return "terminated and truncated";
  if (episode.terminated) return "terminated";
  return episode.truncated ? "truncated" : "not ended";
}

interface TitleProps {
  route: EpisodeRoute;
  episode: Episode | null;
  neighbors: Neighbors | null;
  canEdit: boolean;
  onGo: (neighbor: Neighbors["next"]) => void;
  onMark: () => void;
  onDrop: () => void;
}

function Title({ route, episode, neighbors, canEdit, onGo, onMark, onDrop }: TitleProps) {
  const mark = episode?.metadata["mark"];
  return (
    <header class="heading episode-heading">
      <h1 data-testid="title">Episode {count(route.n)}</h1>
      {episode && (
        <dl class="stats brief" data-testid="stats">
          <div>
            <dt>return</dt>
            <dd>{returnText(episode.return)}</dd>
          </div>
          <div>
            <dt>length</dt>
            <dd>{count(episode.length)}</dd>
          </div>
          <div>
            <dt>ending</dt>
            <dd class="word">{endingOf(episode)}</dd>
          </div>
          {mark !== undefined && mark !== null && (
            <div>
              <dt>mark</dt>
              <dd class="word">
                <b class="tag" data-testid="mark">
                  {value(mark)}
                </b>
              </dd>
            </div>
          )}
        </dl>
      )}
      <div class="actions">
        {neighbors && neighbors.place !== null && (
          <span class="muted fixed" data-testid="trail" title={getTrail(route.id)?.where}>
            {count(neighbors.place + 1)} of {count(neighbors.total)} filtered
          </span>
        )}
        <div class="joined">
          <button
            type="button"
            disabled={!neighbors?.previous}
            onClick={() => onGo(neighbors?.previous ?? null)}
            title="Previous episode ([)"
            data-testid="previous"
          >
            ‹ Previous
          </button>
          <button
            type="button"
            disabled={!neighbors?.next}
            onClick={() => onGo(neighbors?.next ?? null)}
            title="Next episode (])"
            data-testid="next"
          >
            Next ›
          </button>
        </div>
        {canEdit && (
          <>
            <button type="button" onClick={onMark} title="Mark this episode (m)" data-testid="mark-episode">
              Mark…
            </button>
            <button
              type="button"
              class="danger-quiet"
              onClick={onDrop}
              title="Drop this episode (Delete)"
              data-testid="drop-episode"
            >
              Drop…
            </button>
          </>
        )}
      </div>
    </header>
  );
}

function isNested(json: Json): json is { [key: string]: Json } {
  return typeof json === "object" && json !== null && !Array.isArray(json) && Object.keys(json).length > 0;
}

/** Nested values by the names that conditions have for them, such as `options.goal`. */
function flat(metadata: { [key: string]: Json }, prefix = ""): [string, Json][] {
  return Object.entries(metadata).flatMap(([key, json]): [string, Json][] =>
    isNested(json) ? flat(json, `${prefix}${key}.`) : [[`${prefix}${key}`, json]],
  );
}

/** A name that may be broken after its dots. */
function breakable(name: string): ComponentChildren[] {
  return name.split(/(?<=[./])/).flatMap((part) => [part, <wbr />]);
}

function Metadata({ episode }: { episode: Episode }) {
  const entries = flat(episode.metadata);
  return (
    <section class="panel" data-testid="metadata">
      <h2>Episode</h2>
      {entries.length === 0 && <p class="muted">No seed, options or metadata are stored.</p>}
      <dl class="facts narrow">
        {entries.map(([key, json]) => (
          <div key={key}>
            <dt>{breakable(key)}</dt>
            <dd>
              <LongText text={value(json)} />
            </dd>
          </div>
        ))}
      </dl>
    </section>
  );
}

interface BodyProps {
  route: EpisodeRoute;
  episode: Episode;
  player: Player;
}

function Body({ route, episode, player }: BodyProps) {
  const { id, n } = route;
  const { revision } = episode;
  const [chosen, setChosen] = useState(() => choices.get(id) ?? firstChoice(episode.leaves));
  const [zoom, setZoom] = useState<Zoom | null>(null);
  const [hovered, setHovered] = useState<number | null>(null);
  const store = useMemo(
    () =>
      new SeriesStore((leaf, signal) => api.series({ dataset: id, episode: n, revision, leaf }, MOST_POINTS, signal)),
    [id, n, revision],
  );
  useEffect(() => () => store.close(), [store]);
  const choose = (name: string, on: boolean) => {
    const next = new Set(chosen);
    if (on) next.add(name);
    else next.delete(name);
    choices.set(id, next);
    setChosen(next);
  };
  const { leaves } = episode;
  const isShown = (leaf: EpisodeLeaf) => chosen.has(leaf.name) && leaf.rows > 0;
  const cameras = leaves.filter((leaf) => leaf.kind === "frames" && leaf.frame !== null && isShown(leaf));
  const texts = leaves.filter((leaf) => (leaf.kind === "text" || leaf.kind === "other") && isShown(leaf));
  const rewards = leaves.find((leaf) => leaf.name === "rewards" && leaf.rows > 0);
  const isReward = (leaf: EpisodeLeaf) => Number(shortName(leaf).startsWith("rewards"));
  const plots = leaves.filter((leaf) => hasSeries(leaf) && isShown(leaf)).sort((a, b) => isReward(b) - isReward(a));
  const end = Math.max(player.steps - 1, 1);
  const onZoom = (next: Zoom | null) => setZoom(next && next.low <= 0 && next.high >= end ? null : next);
  return (
    <>
      <div class="watch">
        <div class="main">
          {cameras.length > 0 && (
            <Cameras
              key={cameras.map((leaf) => leaf.name).join("\n")}
              dataset={id}
              episode={n}
              revision={revision}
              leaves={cameras}
              player={player}
            />
          )}
          {texts.map((leaf) => (
            <TextLeaf key={leaf.name} dataset={id} episode={n} revision={revision} leaf={leaf} player={player} />
          ))}
          {plots.length > 0 && (
            <div class="plots" data-testid="plots">
              {plots.map((leaf, place) => (
                <LeafChart
                  key={leaf.name}
                  leaf={leaf}
                  player={player}
                  store={store}
                  zoom={zoom}
                  onZoom={onZoom}
                  hovered={hovered}
                  onHover={setHovered}
                  onClose={() => choose(leaf.name, false)}
                  hasAxis={place === plots.length - 1}
                />
              ))}
              <p class="muted hint">
                {zoom ? (
                  <button type="button" class="link" onClick={() => setZoom(null)}>
                    Show all steps
                  </button>
                ) : (
                  "Click to go to a step, drag to zoom."
                )}
              </p>
            </div>
          )}
          {plots.length + cameras.length + texts.length === 0 && (
            <p class="muted">Choose what to plot among the values{leaves.length ? "" : "; this episode has none"}.</p>
          )}
        </div>
        <aside>
          <LeafPanel
            leaves={leaves}
            agents={episode.agents}
            chosen={chosen}
            onChoose={choose}
            player={player}
            store={store}
          />
          <Metadata episode={episode} />
        </aside>
      </div>
      <TransportFor player={player} store={store} rewards={rewards?.name ?? null} />
    </>
  );
}

function TransportFor({ player, store, rewards }: { player: Player; store: SeriesStore; rewards: string | null }) {
  useChanges(store);
  return <Transport player={player} rewards={rewards === null ? null : store.get(rewards)} />;
}

export function EpisodePage({ route }: { route: EpisodeRoute }) {
  const { id, n } = route;
  const [attempt, setAttempt] = useState(0);
  const episode = useRequest(`${attempt} ${id} ${n}`, (signal) => api.episode(id, n, signal), true);
  const dataset = useRequest(id, (signal) => api.dataset(id, signal));
  const neighbors = useNeighbors(id, n);
  const [dialog, setDialog] = useState<"mark" | "drop" | null>(null);
  const canEdit = dataset.data !== null && !dataset.data.read_only;
  const shown = episode.data;
  const steps = shown ? Math.max(...shown.leaves.map((leaf) => leaf.rows), shown.length, 1) : 1;
  const last = useRef<Player | null>(null); // whose speed goes on in the next episode, and which plays on
  useEffect(() => {
    const reload = () => {
      setAttempt((number) => number + 1);
      if (dialog === null) say([`${id} has changed, so episode ${n} is read again.`]);
    };
    outdated.addEventListener("change", reload, { once: true });
    return () => outdated.removeEventListener("change", reload);
  }, [id, n, shown?.revision, dialog]);
  const player = useMemo(() => {
    const made = new Player(steps, shown ? shown.fps : DEFAULT_RATE);
    made.speed = last.current?.speed ?? 1;
    if (last.current?.playing) made.play();
    else if (route.step) made.seek(route.step);
    last.current = made;
    return made;
  }, [id, shown?.id, steps]);
  useEffect(() => {
    const stop = player.listen(() => {
      const now = parseRoute(location.hash); // which may lead on already, and the page not yet follow
      const isHere = now.page === "episode" && now.id === id && now.n === n;
      if (!player.playing && shown?.id === n && isHere) note(links.episode(id, n, player.step));
    });
    return () => {
      stop();
      player.close();
    };
  }, [player]);

  const move = useCallback(
    (neighbor: Neighbors["next"]) => {
      if (!neighbor) return;
      const trail = getTrail(id);
      if (trail && neighbor.place !== null) setTrail(id, { ...trail, place: neighbor.place });
      else clearTrail(id);
      go(links.episode(id, neighbor.id));
    },
    [id],
  );
  const up = () => {
    const trail = getTrail(id);
    go(trail ? links.dataset(id, trail.where, trail.sort, trail.descending) : links.dataset(id));
  };
  useKeys("Episode", [
    { keys: [" "], shown: "Space", does: "play or pause", run: () => player.toggle() },
    { keys: ["ArrowRight"], shown: "→", does: "next step", run: () => player.move(1) },
    { keys: ["ArrowLeft"], shown: "←", does: "previous step", run: () => player.move(-1) },
    { keys: ["Shift+ArrowRight"], shown: "Shift →", does: `${FAR} steps on`, run: () => player.move(FAR) },
    { keys: ["Shift+ArrowLeft"], shown: "Shift ←", does: `${FAR} steps back`, run: () => player.move(-FAR) },
    { keys: ["Home"], shown: "Home", does: "first step", run: () => player.seek(0) },
    { keys: ["End"], shown: "End", does: "last step", run: () => player.seek(player.steps - 1) },
    { keys: ["+", "="], shown: "+", does: "faster", run: () => player.shift(1) },
    { keys: ["-"], shown: "-", does: "slower", run: () => player.shift(-1) },
    { keys: ["]"], shown: "]", does: "next episode", run: () => move(neighbors?.next ?? null) },
    { keys: ["["], shown: "[", does: "previous episode", run: () => move(neighbors?.previous ?? null) },
    ...(canEdit
      ? [
          { keys: ["m"], shown: "m", does: "mark this episode", run: () => setDialog("mark") },
          { keys: ["Delete"], shown: "Del", does: "drop this episode", run: () => setDialog("drop") },
        ]
      : []),
    { keys: ["u"], shown: "u", does: "back to the dataset", run: up },
  ]);

  const done = (report: string[], otherwise: string) => {
    setDialog(null);
    say(report.length ? report : [otherwise]);
  };
  const edit = { dataset: id, revision: shown?.revision ?? "", episodes: [n], onClose: () => setDialog(null) };
  return (
    <>
      <Title
        route={route}
        episode={shown}
        neighbors={neighbors}
        canEdit={canEdit && shown !== null}
        onGo={move}
        onMark={() => setDialog("mark")}
        onDrop={() => setDialog("drop")}
      />
      {episode.error !== null && (
        <Failure error={episode.error} title={`Could not load episode ${n}`} onRetry={() => setAttempt(attempt + 1)} />
      )}
      {!shown && episode.error === null && <Skeleton lines={8} label={`episode ${n}`} />}
      {shown && episode.error === null && (
        <div class={episode.loading ? "pending" : ""}>
          <Body
            key={`${shown.id} ${shown.revision}`}
            route={{ ...route, n: shown.id }}
            episode={shown}
            player={player}
          />
        </div>
      )}
      {dialog === "mark" && (
        <MarkDialog
          {...edit}
          onMarked={(marked) => {
            done(marked.report, `Marked episode ${n}.`);
            setAttempt(attempt + 1);
          }}
        />
      )}
      {dialog === "drop" && (
        <DropDialog
          {...edit}
          onDropped={(dropped) => {
            done(dropped.report, `Dropped episode ${n}.`);
            if (dropped.dataset === id) up();
            else go(links.dataset(dropped.dataset));
          }}
        />
      )}
    </>
  );
}
