/** One dataset: what it is, how its episodes are distributed, and the table of them. */

import { useRef, useState } from "preact/hooks";
import { FactList, LongText } from "../components/facts";
import { Failure, Outlines, Problem, Skeleton } from "../components/states";
import { api, ApiError } from "../data/api";
import { useRequest } from "../data/request";
import type { Dataset, Distributions, Fact } from "../data/types";
import { Episodes } from "../dataset/episodes";
import { Leaves } from "../dataset/leaf_summaries";
import type { OnRange } from "../dataset/overview";
import { Agents, Overview } from "../dataset/overview";
import type { Query } from "../dataset/table_rows";
import { useRows } from "../dataset/table_rows";
import { rangeCondition, withRange } from "../filter";
import { count, number } from "../format";
import { useKeys } from "../keys";
import type { Route } from "../router";
import { go, links, replace } from "../router";

type DatasetRoute = Extract<Route, { page: "dataset" }>;

const SHOWN_FIRST = new Set([
  "algorithm_name",
  "author",
  "minari_version",
  "license",
  "env_id",
  "max_episode_steps",
  "size",
  "format",
]);

function Stat({ title, value, detail }: { title: string; value: string; detail?: string }) {
  return (
    <div>
      <dt>{title}</dt>
      <dd>
        {value}
        {detail && <small>{detail}</small>}
      </dd>
    </div>
  );
}

function Heading({ dataset, distributions }: { dataset: Dataset; distributions: Distributions | null }) {
  const slash = dataset.id.lastIndexOf("/") + 1;
  const [returns] = distributions?.returns ?? [];
  return (
    <header class="heading">
      <div>
        <h1 data-testid="title">
          <span class="namespace">{dataset.id.slice(0, slash)}</span>
          {dataset.id.slice(slash)}
        </h1>
        {dataset.description && (
          <p class="description">
            <LongText text={dataset.description} />
          </p>
        )}
      </div>
      <dl class="stats" data-testid="stats">
        <Stat title="episodes" value={count(dataset.episodes)} />
        <Stat title="steps" value={count(dataset.steps)} />
        {returns && distributions?.returns.length === 1 && returns.summary.mean !== null && (
          <Stat title="return" value={number(returns.summary.mean)} detail={`± ${number(returns.summary.std, 3)}`} />
        )}
        {distributions && distributions.lengths.summary.mean !== null && (
          <Stat
            title="length"
            value={number(distributions.lengths.summary.mean)}
            detail={`± ${number(distributions.lengths.summary.std, 3)}`}
          />
        )}
        {dataset.agents.length > 0 && <Stat title="agents" value={count(dataset.agents.length)} />}
      </dl>
    </header>
  );
}

/** All facts, of which those that matter most to most people are open. */
function Facts({ dataset }: { dataset: Dataset }) {
  const isProvided = (fact: Fact) => fact.text !== "Not provided";
  const isFirst = (fact: Fact) => isProvided(fact) && SHOWN_FIRST.has(fact.key);
  const env = dataset.env_facts.slice(0, 1).map((fact) => ({ ...fact, title: "Environment" }));
  const first = [...env, ...dataset.facts.filter(isFirst)];
  return (
    <section class="fact-cards" aria-label="Facts">
      <FactList facts={first} testid="facts" />
      <details>
        <summary>All facts</summary>
        <div class="columns">
          <section class="panel">
            <h2>Dataset</h2>
            <FactList facts={dataset.facts} testid="all-facts" />
          </section>
          {dataset.env_facts.length > 0 && (
            <section class="panel">
              <h2>Environment</h2>
              <FactList facts={dataset.env_facts} testid="env-facts" />
            </section>
          )}
        </div>
      </details>
    </section>
  );
}

export function DatasetPage({ route }: { route: DatasetRoute }) {
  const { id, where, sort, descending } = route;
  const query: Query = { where, sort, descending };
  const [attempt, setAttempt] = useState(0);
  const reload = () => setAttempt(attempt + 1);
  const dataset = useRequest(`${attempt} ${id}`, (signal) => api.dataset(id, signal), true);
  const { rows, version } = useRows(id, query, attempt);
  const isMistake = rows.error instanceof ApiError && rows.error.status === 400 && where !== "";
  const canRead = dataset.data?.problem === null;
  const isTableDone = rows.total !== null || rows.error !== null; // what is seen first is asked for first
  const distributions = useRequest(
    canRead && isTableDone && !isMistake ? `${attempt} ${id} ${where}` : null,
    (signal) => api.distributions(id, where, signal),
    true,
  );
  const everything = useRef<Distributions | null>(null);
  if (where === "" && distributions.data && !distributions.loading) everything.current = distributions.data;

  const setQuery = (next: Query) => replace(links.dataset(id, next.where, next.sort, next.descending));
  const setWhere = (next: string) => setQuery({ ...query, where: next });
  const onRange: OnRange = (name, histogram, first, last) =>
    setWhere(withRange(where, name, rangeCondition(name, histogram, first, last)));
  useKeys("Dataset", [{ keys: ["u"], shown: "u", does: "all datasets", run: () => go(links.catalog()) }]);

  if (dataset.error !== null) {
    return <Failure error={dataset.error} title={`Could not load ${id}`} onRetry={dataset.reload} />;
  }
  if (!dataset.data) return <Skeleton lines={8} label={id} />;
  const shown = distributions.data;
  const areLeavesNext = shown !== null || distributions.error !== null || isMistake;
  return (
    <>
      <Heading dataset={dataset.data} distributions={everything.current} />
      {dataset.data.problem !== null && <Problem text={dataset.data.problem} />}
      <Facts dataset={dataset.data} />
      {canRead && (
        <>
          <div class={distributions.loading || isMistake || !isTableDone ? "pending" : ""}>
            {shown && shown.episodes > 0 && <Overview distributions={shown} onRange={onRange} onWhere={setWhere} />}
            {!shown && distributions.error === null && !isMistake && (
              <Outlines count={3} height={191} label="the distributions" />
            )}
            {distributions.error !== null && (
              <Failure
                error={distributions.error}
                title="Could not load the distributions"
                onRetry={distributions.reload}
                compact
              />
            )}
          </div>
          <Episodes
            dataset={dataset.data}
            query={query}
            rows={rows}
            version={version}
            isMistake={isMistake}
            everything={everything.current}
            onQuery={setQuery}
            onReload={reload}
          />
          {shown && <Agents agents={shown.agents} onRange={onRange} />}
          {dataset.data.episodes !== 0 && <Leaves id={id} version={attempt} ready={areLeavesNext} />}
        </>
      )}
    </>
  );
}
