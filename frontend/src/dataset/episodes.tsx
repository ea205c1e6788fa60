/** The episodes of a dataset: filter, table, selection, and what is done with the selected ones. */

import type { ComponentChildren } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { DropDialog, episodesText, MarkDialog } from "../components/edits";
import { Empty, Failure, Outlines } from "../components/states";
import type { RowPages } from "../data/rows";
import type { Dataset, Distributions } from "../data/types";
import { brief, count } from "../format";
import { useKeys } from "../keys";
import { go, links } from "../router";
import { say } from "../shell/toasts";
import { getTrail, setTrail } from "../trail";
import { EpisodeTable } from "./episode_table";
import { examplesFor, Filter } from "./filter_box";
import type { Query } from "./table_rows";
import { idsBetween, useSettled } from "./table_rows";

interface EpisodesProps {
  dataset: Dataset;
  query: Query;
  rows: RowPages; // for this query
  version: number; // counts the changes of `rows`
  isMistake: boolean; // whether the filter cannot be read
  everything: Distributions | null; // of all episodes
  onQuery: (query: Query) => void;
  onReload: () => void;
}

/** The names of leaves as conditions have them. */
function fieldsOf(dataset: Dataset): string[] {
  return dataset.leaves
    .filter((leaf) => leaf.kind === "number" || leaf.kind === "flag")
    .map((leaf) => brief(leaf.name));
}

/** The ranges of the columns that have a bar in each cell. */
function rangesOf(everything: Distributions | null): ReadonlyMap<string, [number, number]> {
  const found = new Map<string, [number, number]>();
  const add = (name: string, summary: { min: number | null; max: number | null } | undefined) => {
    if (summary && summary.min !== null && summary.max !== null) found.set(name, [summary.min, summary.max]);
  };
  if (everything?.returns.length === 1) add("return", everything.returns[0]?.summary);
  add("length", everything?.lengths.summary);
  return found;
}

/** The row that was opened last, if the table is still that one. */
function placeBefore(id: string, { where, sort, descending }: Query): number {
  const trail = getTrail(id);
  const isSame = trail?.where === where && trail.sort === sort && trail.descending === descending;
  return isSame ? trail.place : 0;
}

interface SelectionProps {
  count: number;
  onMark: () => void;
  onDrop: () => void;
  onClear: () => void;
}

function Selection(props: SelectionProps) {
  return (
    <div class="selection" data-testid="selection">
      <b class="fixed">{count(props.count)} selected</b>
      <button type="button" onClick={props.onMark} data-testid="mark-selected">
        Mark…
      </button>
      <button type="button" class="danger-quiet" onClick={props.onDrop} data-testid="drop-selected">
        Drop…
      </button>
      <button type="button" class="quiet" onClick={props.onClear}>
        Clear
      </button>
    </div>
  );
}

function NoEpisodes({ isFiltered, onClear }: { isFiltered: boolean; onClear: () => void }) {
  return (
    <Empty title={isFiltered ? "No episode matches" : "This dataset has no episodes"} testid="no-episodes">
      {isFiltered ? (
        <button type="button" onClick={onClear}>
          Clear the filter
        </button>
      ) : (
        <p>Episodes that are recorded into it appear here.</p>
      )}
    </Empty>
  );
}

function totalText(rows: RowPages, isFiltered: boolean): string {
  if (rows.total === null) return "";
  return isFiltered ? `${count(rows.total)} of ${count(rows.of)}` : count(rows.of || rows.total);
}

/** What is beside or instead of the table: hints and errors. */
function Notices({ rows, isMistake, onReload }: { rows: RowPages; isMistake: boolean; onReload: () => void }) {
  return (
    <>
      {rows.changed && (
        <p class="notice" role="status" data-testid="changed">
          The dataset has changed since this page read it.
          <button type="button" onClick={onReload}>
            Reload
          </button>
        </p>
      )}
      {rows.error !== null && !isMistake && (
        <Failure error={rows.error} title="Could not load the episodes" onRetry={onReload} compact />
      )}
    </>
  );
}

/** The selected episodes, the dialog about them, and the keys for both. */
function useSelection(canEdit: boolean) {
  const [selected, setSelected] = useState<ReadonlySet<number>>(new Set());
  const [dialog, setDialog] = useState<"mark" | "drop" | null>(null);
  const clear = () => setSelected(new Set());
  const keys = [
    { keys: ["m"], shown: "m", does: "mark the selected episodes", run: () => setDialog("mark") },
    { keys: ["Delete"], shown: "Del", does: "drop the selected episodes", run: () => setDialog("drop") },
    { keys: ["Escape"], shown: "Esc", does: "select nothing", run: clear },
  ];
  useKeys("Episodes", canEdit && selected.size ? keys : []);
  return { selected, setSelected, clear, dialog, setDialog };
}

export function Episodes(props: EpisodesProps) {
  const { dataset, query, rows: wanted, version, isMistake, everything, onQuery, onReload } = props;
  const { id } = dataset;
  const rows = useSettled(wanted);
  const canEdit = !dataset.read_only;
  const { selected, setSelected, clear, dialog, setDialog } = useSelection(canEdit);
  const [active, setActive] = useState(() => placeBefore(id, query));
  const filterBox = useRef<HTMLInputElement>(null);
  useKeys("Episodes", [{ keys: ["/"], shown: "/", does: "filter", run: () => filterBox.current?.select() }]);

  const where = useRef(query.where);
  useEffect(() => {
    if (where.current === query.where) return;
    where.current = query.where;
    clear();
    setActive(0);
  }, [query.where]);
  const setWhere = (next: string) => onQuery({ ...query, where: next });
  const selectRange = (first: number, last: number) => {
    idsBetween(id, query, first, last).then(
      (ids) => setSelected((old) => new Set([...old, ...ids])),
      (error: unknown) => say([error instanceof Error ? error.message : String(error)]),
    );
  };
  const select = (episode: number, on: boolean) => {
    const next = new Set(selected);
    if (on) next.add(episode);
    else next.delete(episode);
    setSelected(next);
  };
  const done = (report: string[], otherwise: string) => {
    setDialog(null);
    clear();
    onReload();
    say(report.length ? report : [otherwise]);
  };
  const chosen = [...selected].sort((a, b) => a - b);
  const what = episodesText(chosen);
  const edit = {
    dataset: id,
    revision: rows.revision || dataset.revision,
    episodes: chosen,
    onClose: () => setDialog(null),
  };

  let table: ComponentChildren = null;
  if (rows.total === 0 && !isMistake)
    table = <NoEpisodes isFiltered={query.where !== ""} onClear={() => setWhere("")} />;
  else if (rows.total === null) {
    table = wanted.error === null && <Outlines count={1} height={360} label="the episodes" />;
  } else {
    table = (
      <div class={isMistake || rows !== wanted ? "pending" : ""}>
        <EpisodeTable
          dataset={id}
          rows={rows}
          version={version}
          sort={query.sort}
          descending={query.descending}
          onSort={(sort, descending) => {
            setActive(0);
            onQuery({ ...query, sort, descending });
          }}
          selected={selected}
          onSelect={select}
          onSelectRange={selectRange}
          onSelectAll={(on) => (on ? selectRange(0, (rows.total ?? 0) - 1) : clear())}
          onOpen={(episode, place) => {
            setTrail(id, { ...query, place });
            go(links.episode(id, episode));
          }}
          active={Math.min(active, Math.max(rows.total - 1, 0))}
          onActive={setActive}
          ranges={rangesOf(everything)}
          canSelect={canEdit}
        />
      </div>
    );
  }
  return (
    <section aria-label="Episodes">
      <div class="table-head">
        <h2 class="section-title">
          Episodes{" "}
          <span class="muted fixed" data-testid="total">
            {totalText(rows, query.where !== "" && !isMistake)}
          </span>
        </h2>
        {selected.size > 0 && (
          <Selection
            count={selected.size}
            onMark={() => setDialog("mark")}
            onDrop={() => setDialog("drop")}
            onClear={clear}
          />
        )}
      </div>
      {(query.where !== "" || rows.total !== 0) && (
        <Filter
          where={query.where}
          mistake={isMistake && wanted.error instanceof Error ? wanted.error.message : null}
          examples={examplesFor(everything, rows.columns)}
          columns={rows.columns}
          fields={fieldsOf(dataset)}
          onWhere={setWhere}
          box={filterBox}
        />
      )}
      <Notices rows={wanted} isMistake={isMistake} onReload={onReload} />
      {table}
      {dialog === "mark" && <MarkDialog {...edit} onMarked={({ report }) => done(report, `Marked ${what}.`)} />}
      {dialog === "drop" && (
        <DropDialog
          {...edit}
          onDropped={(dropped) => {
            done(dropped.report, `Dropped ${what}.`);
            if (dropped.dataset !== id) go(links.dataset(dropped.dataset));
          }}
        />
      )}
    </section>
  );
}
