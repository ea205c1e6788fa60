/** The datasets on this machine, with search, sorting, and a choice of two to compare. */

import { useMemo, useRef, useState } from "preact/hooks";
import { api } from "../data/api";
import { Empty, Failure, Problem, Skeleton } from "../components/states";
import { count, megabytes, shortened } from "../format";
import { useKeys } from "../keys";
import { useRequest } from "../data/request";
import { go, links } from "../router";
import type { CatalogEntry } from "../data/types";

type SortKey = "id" | "env" | "episodes" | "steps" | "size" | "authors" | "format";

const COLUMNS: { key: SortKey; title: string; numeric: boolean }[] = [
  { key: "id", title: "Dataset", numeric: false },
  { key: "env", title: "Environment", numeric: false },
  { key: "episodes", title: "Episodes", numeric: true },
  { key: "steps", title: "Steps", numeric: true },
  { key: "size", title: "Size", numeric: true },
  { key: "authors", title: "Authors", numeric: false },
  { key: "format", title: "Format", numeric: false },
];

function matches(entry: CatalogEntry, words: string[]): boolean {
  const text = [entry.id, entry.env, entry.description, entry.format, ...entry.authors].join("\n").toLowerCase();
  return words.every((word) => text.includes(word));
}

function compared(a: CatalogEntry, b: CatalogEntry, key: SortKey): number {
  const [first, second] = key === "authors" ? [a.authors.join(", "), b.authors.join(", ")] : [a[key], b[key]];
  if (first === second) return a.id.localeCompare(b.id, "en", { numeric: true });
  if (first === null) return 1;
  if (second === null) return -1;
  if (typeof first === "number" && typeof second === "number") return first - second;
  return String(first).localeCompare(String(second), "en", { numeric: true });
}

function NoDatasets({ root }: { root: string }) {
  return (
    <Empty title="There are no datasets here yet" testid="empty-catalog">
      <p>
        Datasets in <code>{root}</code> appear here. Record one, or download one:
      </p>
      <pre>minari record CartPole-v1 --dataset-id cartpole/random-v0</pre>
      <pre>minari download D4RL/door/human-v2</pre>
    </Empty>
  );
}

interface RowProps {
  entry: CatalogEntry;
  place: number;
  isActive: boolean;
  isChecked: boolean;
  onCheck: () => void;
}

function Row({ entry, place, isActive, isChecked, onCheck }: RowProps) {
  const slash = entry.id.lastIndexOf("/") + 1;
  return (
    <tr
      id={`dataset-${place}`}
      class={isActive ? "at" : ""}
      onClick={() => go(links.dataset(entry.id))}
      data-testid="dataset-row"
      data-dataset={entry.id}
    >
      <td class="check" onClick={(event) => event.stopPropagation()}>
        <label>
          <input
            type="checkbox"
            checked={isChecked}
            onChange={onCheck}
            aria-label={`Compare ${entry.id}`}
            data-testid="check"
          />
        </label>
      </td>
      <td class="name">
        <a href={links.dataset(entry.id)} onClick={(event) => event.stopPropagation()}>
          <span class="namespace">{entry.id.slice(0, slash)}</span>
          {entry.id.slice(slash)}
        </a>
        {entry.agents !== null && entry.agents > 0 && <b class="tag">{entry.agents} agents</b>}
        {entry.problem !== null ? (
          <Problem text={entry.problem} />
        ) : (
          entry.description && <p class="muted one-line">{shortened(entry.description, 200)}</p>
        )}
      </td>
      <td data-title="Environment">{entry.env ?? <span class="none">–</span>}</td>
      <td data-title="Episodes" class="number">
        {count(entry.episodes)}
      </td>
      <td data-title="Steps" class="number">
        {count(entry.steps)}
      </td>
      <td data-title="Size" class="number">
        {megabytes(entry.size)}
      </td>
      <td data-title="Authors" class="authors">
        {entry.authors.length ? shortened(entry.authors.join(", "), 60) : <span class="none">–</span>}
      </td>
      <td data-title="Format" class="muted">
        {entry.format ?? "–"}
      </td>
    </tr>
  );
}

export function CatalogPage() {
  const catalog = useRequest("catalog", api.catalog);
  const [search, setSearch] = useState("");
  const [sort, setSort] = useState<{ key: SortKey; descending: boolean }>({ key: "id", descending: false });
  const [checked, setChecked] = useState<string[]>([]);
  const [active, setActive] = useState(0);
  const box = useRef<HTMLInputElement>(null);

  const shown = useMemo(() => {
    const words = search.toLowerCase().split(/\s+/).filter(Boolean);
    const found = (catalog.data?.datasets ?? []).filter((entry) => matches(entry, words));
    const ordered = found.sort((a, b) => compared(a, b, sort.key));
    return sort.descending ? ordered.reverse() : ordered;
  }, [catalog.data, search, sort]);
  const at = Math.min(active, shown.length - 1);

  const check = (id: string) =>
    setChecked((old) => (old.includes(id) ? old.filter((other) => other !== id) : [...old.slice(-1), id]));
  const move = (by: number) => {
    const place = Math.min(Math.max(at + by, 0), shown.length - 1);
    setActive(place);
    document.getElementById(`dataset-${place}`)?.scrollIntoView({ block: "nearest" });
  };
  const open = () => shown[at] && go(links.dataset(shown[at].id));
  const [a, b] = checked;
  const compare = () => a !== undefined && b !== undefined && go(links.compare(a, b));

  useKeys("Datasets", [
    { keys: ["/"], shown: "/", does: "search", run: () => box.current?.focus() },
    { keys: ["ArrowDown"], shown: "↓ j", does: "next dataset", run: () => move(1), inFields: true },
    { keys: ["ArrowUp"], shown: "↑ k", does: "previous dataset", run: () => move(-1), inFields: true },
    { keys: ["j"], shown: "j", does: "", run: () => move(1) },
    { keys: ["k"], shown: "k", does: "", run: () => move(-1) },
    { keys: ["Enter"], shown: "Enter", does: "open", run: open, inFields: true },
    { keys: ["x"], shown: "x", does: "choose for a comparison", run: () => shown[at] && check(shown[at].id) },
    { keys: ["c"], shown: "c", does: "compare the two that are chosen", run: compare },
    {
      keys: ["Escape"],
      shown: "Esc",
      does: "clear the search",
      run: () => {
        setSearch("");
        box.current?.blur();
      },
      inFields: true,
    },
  ]);

  if (catalog.error !== null)
    return <Failure error={catalog.error} title="Could not load the datasets" onRetry={catalog.reload} />;
  if (!catalog.data) return <Skeleton lines={8} label="the datasets" />;
  const { datasets, root } = catalog.data;
  if (datasets.length === 0) return <NoDatasets root={root} />;
  return (
    <>
      <div class="toolbar">
        <h1>Datasets</h1>
        <input
          ref={box}
          type="search"
          value={search}
          placeholder="Search by name, environment, author or description"
          aria-label="Search datasets"
          spellcheck={false}
          onInput={(event) => {
            setSearch(event.currentTarget.value);
            setActive(0);
          }}
          data-testid="search"
        />
        <kbd aria-hidden="true">/</kbd>
        <span class="muted fixed" data-testid="count">
          {shown.length === datasets.length
            ? count(datasets.length)
            : `${count(shown.length)} of ${count(datasets.length)}`}
        </span>
        <button
          type="button"
          disabled={checked.length < 2}
          onClick={compare}
          title={checked.length < 2 ? "Check two datasets to compare them" : undefined}
          data-testid="compare"
        >
          Compare{checked.length ? ` (${checked.length})` : ""}
        </button>
      </div>
      {shown.length === 0 ? (
        <Empty title={`No dataset matches “${search}”`} testid="no-match">
          <button type="button" onClick={() => setSearch("")}>
            Clear the search
          </button>
        </Empty>
      ) : (
        <table class="catalog-table" data-testid="catalog">
          <thead>
            <tr>
              <th class="check" aria-label="Compare" />
              {COLUMNS.map((column) => {
                const isSorted = sort.key === column.key;
                const order = isSorted ? (sort.descending ? "descending" : "ascending") : "none";
                return (
                  <th key={column.key} class={column.numeric ? "number" : ""} aria-sort={order}>
                    <button
                      type="button"
                      onClick={() =>
                        setSort({ key: column.key, descending: isSorted ? !sort.descending : column.numeric })
                      }
                      data-testid={`sort-${column.key}`}
                    >
                      {column.title}
                      <i class={`order ${order}`} aria-hidden="true" />
                    </button>
                  </th>
                );
              })}
            </tr>
          </thead>
          <tbody>
            {shown.map((entry, place) => (
              <Row
                key={entry.id}
                entry={entry}
                place={place}
                isActive={place === at}
                isChecked={checked.includes(entry.id)}
                onCheck={() => check(entry.id)}
              />
            ))}
          </tbody>
        </table>
      )}
      <p class="foot muted">
        <code>{root}</code>
        {catalog.data.read_only && " · read only"} · Minari {catalog.data.version}
      </p>
    </>
  );
}
