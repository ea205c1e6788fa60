/** The distributions of returns, lengths and endings, of all agents together and of each. */

import { HistogramChart } from "../components/histogram";
import type { AgentDistributions, Distributions, Flags, Histogram } from "../data/types";
import { count, counted, percent } from "../format";

/** The name by which conditions call the returns of a component. */
function returnName(label: string, agent?: string): string {
  const places = (label.match(/\d+/g) ?? []).map((place) => `[${place}]`).join("");
  return `${agent === undefined ? "" : `agents[${JSON.stringify(agent)}].`}return${places}`;
}

const ENDINGS = [
  { key: "terminated", title: "terminated", where: "terminated and not truncated" },
  { key: "truncated", title: "truncated", where: "truncated and not terminated" },
  { key: "both", title: "both", where: "terminated and truncated" },
  { key: "neither", title: "neither", where: "not terminated and not truncated" },
] as const;

/** How many episodes end in which way; terminated and truncated alone, without those that are both. */
function Endings({ flags, onWhere }: { flags: Flags; onWhere: (where: string) => void }) {
  const counts = { ...flags };
  const all = counts.terminated + counts.truncated + counts.both + counts.neither;
  return (
    <figure class="endings" data-testid="endings">
      <figcaption>
        <span class="chart-title">Endings</span>
      </figcaption>
      {ENDINGS.filter(({ key }) => counts[key] > 0 || key === "terminated" || key === "truncated").map(
        ({ key, title, where }) => (
          <button
            type="button"
            key={key}
            onClick={() => onWhere(where)}
            disabled={counts[key] === 0}
            title={`Filter: ${where}`}
            data-testid={`ending-${key}`}
          >
            <span>{title}</span>
            <i class="track">
              <i style={{ width: `${all ? (100 * counts[key]) / all : 0}%` }} />
            </i>
            <b>{count(counts[key])}</b>
            <small class="muted">{percent(counts[key], all)}</small>
          </button>
        ),
      )}
    </figure>
  );
}

function returnTitle(label: string, many: boolean): string {
  return many ? `Return ${label}` : "Return";
}

/** Called with the name that conditions have for a distribution, and the bins that were chosen. */
export type OnRange = (name: string, histogram: Histogram, first: number, last: number) => void;

interface OverviewProps {
  distributions: Distributions;
  onRange: OnRange;
  onWhere: (where: string) => void;
}

export function Overview({ distributions, onRange, onWhere }: OverviewProps) {
  const { returns, lengths, flags } = distributions;
  return (
    <section class="overview" aria-label="Distributions" data-testid="overview">
      {returns.map((one, place) => (
        <HistogramChart
          key={place}
          title={returnTitle(one.label, returns.length > 1)}
          summary={one.summary}
          histogram={one.histogram}
          unit="episodes"
          testid={place === 0 ? "returns" : `returns-${place}`}
          onRange={(first, last) => onRange(returnName(one.label), one.histogram, first, last)}
        />
      ))}
      <HistogramChart
        title="Length"
        summary={lengths.summary}
        histogram={lengths.histogram}
        unit="episodes"
        testid="lengths"
        onRange={(first, last) => onRange("length", lengths.histogram, first, last)}
      />
      <Endings flags={flags} onWhere={onWhere} />
    </section>
  );
}

export function Agents({ agents, onRange }: { agents: AgentDistributions[]; onRange: OnRange }) {
  if (agents.length === 0) return null;
  return (
    <section data-testid="agents">
      <h2 class="section-title">
        Agents <span class="muted">{agents.length}</span>
      </h2>
      <div class="multiples">
        {agents.map(({ agent, steps, episodes, returns }) => (
          <section class="panel multiple" key={agent} data-testid="agent">
            <header>
              <h3 title={agent}>{agent}</h3>
              <span class="muted fixed">
                {counted(episodes, "episode")}, {counted(steps, "step")}
              </span>
            </header>
            {returns.map((one, place) => (
              <HistogramChart
                key={place}
                title={returnTitle(one.label, returns.length > 1)}
                summary={one.summary}
                histogram={one.histogram}
                unit="episodes"
                testid="agent-returns"
                compact
                onRange={(first, last) => onRange(returnName(one.label, agent), one.histogram, first, last)}
              />
            ))}
          </section>
        ))}
      </div>
    </section>
  );
}
