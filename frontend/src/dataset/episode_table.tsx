/** The table of episodes: only the rows in sight exist, and only they are fetched. */

import { useEffect, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import { brief, count, decimal, value } from "../format";
import { useKeys } from "../keys";
import { links } from "../router";
import type { RowPages } from "../data/rows";
import type { Cell, Column } from "../data/types";
import { Icon } from "../components/icons";

const ROW = 28; // pixels, as in the style sheet
const SAMPLE = 200; // rows by which the digits of a column are chosen
const SPARE = 8; // rows above and below those in sight

export interface TableProps {
  dataset: string;
  rows: RowPages;
  version: number; // counts the changes of `rows`
  sort: string;
  descending: boolean;
  onSort: (column: string, descending: boolean) => void;
  selected: ReadonlySet<number>;
  onSelect: (id: number, on: boolean) => void;
  onSelectRange: (first: number, last: number) => void; // of places, some of which may not be here
  onSelectAll: (on: boolean) => void;
  onOpen: (id: number, place: number) => void;
  active: number;
  onActive: (place: number) => void;
  ranges: ReadonlyMap<string, [number, number]>; // of columns that have a bar in each cell
  canSelect: boolean;
}

/** About the pixels of the name of a column with the sign of the order, up to 150. */
function widthOfName(name: string): number {
  return Math.min(7 * (brief(name).split("/").at(-1) ?? name).length + 42, 150);
}

function widthOf(column: Column): string {
  if (column.name === "id") return "64px";
  if (column.name === "mark") return "130px";
  if (column.name === "length" || column.name === "return") return "minmax(110px, 200px)";
  if (column.kind === "number") return `minmax(${Math.max(104, widthOfName(column.name))}px, 150px)`;
  if (column.kind === "flag") return "96px";
  return "minmax(130px, 1fr)";
}

function idOf(row: Cell[] | null): number | null {
  const id = row?.[0];
  return typeof id === "number" ? id : null;
}

function Bar({ cell, range }: { cell: Cell | undefined; range: [number, number] | undefined }) {
  if (!range || typeof cell !== "number") return null;
  const [low, high] = [Math.min(range[0], 0), range[1]];
  if (!(high > low)) return null;
  const share = Math.min(Math.max((cell - low) / (high - low), 0), 1);
  return <i class="cell-bar" style={{ width: `calc(${100 * share}% - 8px)` }} />;
}

interface CellProps {
  column: Column;
  cell: Cell | undefined;
  range: [number, number] | undefined;
  digits: number; // after the point
}

/** The digits after the point that show four figures of the differences between the rows that are here. */
function digitsOf(rows: (Cell[] | null)[], at: number): number {
  const values = rows.map((row) => row?.[at]).filter((cell): cell is number => typeof cell === "number");
  if (values.every(Number.isInteger)) return 0;
  const range = Math.max(...values) - Math.min(...values) || Math.abs(values[0] ?? 1) || 1;
  return Math.min(Math.max(3 - Math.floor(Math.log10(range)), 0), 8);
}

function CellView({ column, cell, range, digits }: CellProps) {
  if (cell === null || cell === undefined)
    return (
      <span role="gridcell" class={column.kind === "number" ? "cell number none" : "cell none"}>
        –
      </span>
    );
  if (typeof cell === "boolean") {
    return (
      <span class={cell ? "cell flag on" : "cell flag"} role="gridcell" aria-label={cell ? "yes" : "no"}>
        {cell ? <Icon name="check" /> : "·"}
      </span>
    );
  }
  const text = typeof cell === "number" ? decimal(cell, digits) : value(cell);
  if (column.name === "mark") {
    return (
      <span class="cell" role="gridcell">
        <b class="tag" data-testid="mark">
          {text}
        </b>
      </span>
    );
  }
  return (
    <span
      class={column.kind === "number" ? "cell number" : "cell"}
      role="gridcell"
      title={text.length > 12 ? text : undefined}
    >
      <Bar cell={cell} range={range} />
      <span class="over">{text}</span>
    </span>
  );
}

/** The name of a column; the agent that it is of stands above. */
function ColumnName({ name }: { name: string }) {
  const [, agent, field] = /^agents\/(.+)\/([^/]+)$/.exec(name) ?? [];
  if (agent === undefined) return <span class="cut">{name}</span>;
  return (
    <span class="cut">
      <small>{agent}</small>
      {field}
    </span>
  );
}

function HeaderCell({ column, props }: { column: Column; props: TableProps }) {
  const isSorted = props.sort === column.name || (props.sort === "" && column.name === "id");
  const order = isSorted ? (props.descending ? "descending" : "ascending") : "none";
  return (
    <span role="columnheader" aria-sort={order} class={column.kind === "number" ? "cell number" : "cell"}>
      <button
        type="button"
        onClick={() => props.onSort(column.name, isSorted ? !props.descending : column.name === "return")}
        title={column.name}
        data-testid={`sort-${column.name}`}
      >
        <ColumnName name={column.name} />
        <i class={`order ${order}`} aria-hidden="true" />
      </button>
    </span>
  );
}

export function EpisodeTable(props: TableProps) {
  const { rows, selected, active, onActive, canSelect } = props;
  const box = useRef<HTMLDivElement>(null);
  const anchor = useRef(-1);
  const [sight, setSight] = useState({ top: 0, height: 460 });
  const total = rows.total ?? 0;
  const first = Math.max(Math.floor(sight.top / ROW) - SPARE, 0);
  const last = Math.min(Math.ceil((sight.top + sight.height) / ROW) + SPARE, total) - 1;

  useEffect(() => rows.want(first, Math.max(last, 0)), [rows, first, last]);
  useLayoutEffect(() => {
    if (!box.current) return;
    const observer = new ResizeObserver(([entry]) => {
      if (entry) setSight((old) => ({ ...old, height: entry.contentRect.height }));
    });
    observer.observe(box.current);
    return () => observer.disconnect();
  }, []);
  useEffect(() => {
    if (box.current) box.current.scrollTop = Math.max(active * ROW - sight.height / 2, 0);
  }, [rows]);

  const reveal = (place: number) => {
    const element = box.current;
    if (!element) return;
    const room = element.clientHeight - 2 * ROW;
    if (place * ROW < element.scrollTop) element.scrollTop = place * ROW;
    else if (place * ROW > element.scrollTop + room) element.scrollTop = place * ROW - room;
  };
  const move = (place: number) => {
    const bounded = Math.min(Math.max(place, 0), total - 1);
    if (bounded < 0) return;
    onActive(bounded);
    reveal(bounded);
  };
  const open = (place: number) => {
    const id = idOf(rows.row(place));
    if (id !== null) props.onOpen(id, place);
  };
  const select = (place: number, extend: boolean) => {
    const id = idOf(rows.row(place));
    if (id === null) return;
    if (extend && anchor.current >= 0) {
      props.onSelectRange(Math.min(anchor.current, place), Math.max(anchor.current, place));
    } else props.onSelect(id, !selected.has(id));
    anchor.current = place;
  };
  const page = Math.max(Math.floor(sight.height / ROW) - 2, 1);

  useKeys("Episodes", [
    { keys: ["ArrowDown", "j"], shown: "↓ j", does: "next episode", run: () => move(active + 1) },
    { keys: ["ArrowUp", "k"], shown: "↑ k", does: "previous episode", run: () => move(active - 1) },
    { keys: ["PageDown"], shown: "PgDn", does: "a page down", run: () => move(active + page) },
    { keys: ["PageUp"], shown: "PgUp", does: "a page up", run: () => move(active - page) },
    { keys: ["Home"], shown: "Home", does: "first episode", run: () => move(0) },
    { keys: ["End"], shown: "End", does: "last episode", run: () => move(total - 1) },
    { keys: ["Enter"], shown: "Enter", does: "watch the episode", run: () => open(active) },
    ...(canSelect
      ? [
          { keys: ["x"], shown: "x", does: "select the episode", run: () => select(active, false) },
          { keys: ["X"], shown: "X", does: "select all from the last selected one", run: () => select(active, true) },
        ]
      : []),
  ]);

  const template = [...(canSelect ? ["34px"] : []), ...rows.columns.map(widthOf)].join(" ");
  const digits = useMemo(() => {
    const sample = Array.from({ length: SAMPLE }, (_, place) => rows.row(place));
    return rows.columns.map((_, at) => digitsOf(sample, at));
  }, [rows, rows.columns]);
  const hasAgents = rows.columns.some((column) => column.name.startsWith("agents/"));
  const isAll = total > 0 && selected.size >= total;
  const places = Array.from({ length: Math.max(last - first + 1, 0) }, (_, offset) => first + offset);
  return (
    <div
      class="grid"
      ref={box}
      role="grid"
      tabIndex={0}
      aria-label="Episodes"
      aria-rowcount={total + 1}
      aria-multiselectable={canSelect}
      aria-activedescendant={total ? `row-${active}` : undefined}
      onScroll={(event) => {
        const { scrollTop } = event.currentTarget;
        setSight((old) => ({ ...old, top: scrollTop }));
      }}
      data-testid="episodes"
    >
      <div
        class={hasAgents ? "grid-row head tall" : "grid-row head"}
        role="row"
        aria-rowindex={1}
        style={{ gridTemplateColumns: template }}
      >
        {canSelect && (
          <label class="cell check" title="Select all">
            <input
              type="checkbox"
              checked={isAll}
              onChange={(event) => props.onSelectAll(event.currentTarget.checked)}
              aria-label="Select all episodes of the table"
              data-testid="select-all"
            />
          </label>
        )}
        {rows.columns.map((column) => (
          <HeaderCell key={column.name} column={column} props={props} />
        ))}
      </div>
      <div class="grid-body" style={{ height: `${total * ROW}px` }}>
        {places.map((place) => {
          const row = rows.row(place);
          const id = idOf(row);
          const isSelected = id !== null && selected.has(id);
          return (
            <div
              key={place}
              id={`row-${place}`}
              class={`grid-row${place === active ? " at" : ""}${isSelected ? " selected" : ""}`}
              role="row"
              aria-rowindex={place + 2}
              aria-selected={isSelected}
              style={{ gridTemplateColumns: template, transform: `translateY(${place * ROW}px)` }}
              onClick={(event) => {
                onActive(place);
                if (event.shiftKey && canSelect) select(place, true);
                else open(place);
              }}
              data-testid="episode-row"
              data-episode={id ?? undefined}
            >
              {canSelect && (
                <label class="cell check" onClick={(event) => event.stopPropagation()}>
                  <input
                    type="checkbox"
                    checked={isSelected}
                    aria-label={`Select episode ${id ?? ""}`}
                    onClick={(event) => {
                      onActive(place);
                      select(place, event.shiftKey);
                    }}
                    data-testid="select-row"
                  />
                </label>
              )}
              {rows.columns.map((column, at) =>
                column.name === "id" && id !== null ? (
                  <span key="id" role="gridcell" class="cell number">
                    <a
                      href={links.episode(props.dataset, id)}
                      tabIndex={-1}
                      onClick={(event) => {
                        if (event.ctrlKey || event.metaKey) event.stopPropagation();
                        else event.preventDefault();
                      }}
                    >
                      {count(id)}
                    </a>
                  </span>
                ) : row ? (
                  <CellView
                    key={column.name}
                    column={column}
                    cell={row[at]}
                    range={props.ranges.get(column.name)}
                    digits={digits[at] ?? 0}
                  />
                ) : (
                  <span key={column.name} role="gridcell" class="cell waiting" />
                ),
              )}
            </div>
          );
        })}
      </div>
    </div>
  );
}
