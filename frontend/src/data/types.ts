/** The answers of the server, as documented in docs/viewer.md. */

export type Json = string | number | boolean | null | Json[] | { [key: string]: Json };
export type Cell = Json;

export interface CatalogEntry {
  id: string;
  episodes: number | null;
  steps: number | null;
  size: number | null;
  authors: string[];
  format: string | null;
  description: string | null;
  env: string | null;
  agents: number | null;
  problem: string | null;
}

export interface Catalog {
  root: string;
  read_only: boolean;
  version: string;
  datasets: CatalogEntry[];
}

export interface Fact {
  key: string;
  title: string;
  text: string;
  form: "text" | "code" | "link";
}

export type LeafKind = "number" | "flag" | "frames" | "text" | "other";

export interface DatasetLeaf {
  name: string;
  kind: LeafKind;
  dtype: string;
  shape: number[];
  agent: string | null;
}

export interface Dataset {
  id: string;
  revision: string;
  read_only: boolean;
  episodes: number | null;
  steps: number | null;
  description: string | null;
  facts: Fact[];
  env_facts: Fact[];
  agents: string[];
  leaves: DatasetLeaf[];
  problem: string | null;
}

export interface Summary {
  min: number | null;
  mean: number | null;
  max: number | null;
  std: number | null;
}

export interface Histogram {
  edges: number[];
  counts: number[];
  labels: string[];
  not_finite: number;
}

export interface Distribution {
  summary: Summary;
  histogram: Histogram;
}

export interface LabeledDistribution extends Distribution {
  label: string;
}

export interface Flags {
  terminated: number;
  truncated: number;
  both: number;
  neither: number;
}

export interface AgentDistributions {
  agent: string;
  episodes: number;
  steps: number;
  returns: LabeledDistribution[];
  lengths: Distribution;
}

export interface Distributions {
  episodes: number;
  returns: LabeledDistribution[];
  lengths: Distribution;
  flags: Flags;
  agents: AgentDistributions[];
}

export interface LeafSummary {
  name: string;
  kind: LeafKind;
  dtype: string;
  shape: number[];
  components: LabeledDistribution[];
  omitted: number;
  texts: { text: string; count: number }[];
}

export interface LeafSummaries {
  episodes: number;
  of_episodes: number;
  steps: number;
  leaves: LeafSummary[];
}

export interface Column {
  name: string;
  kind: "number" | "flag" | "text";
}

export interface EpisodeRows {
  revision: string;
  columns: Column[];
  total: number;
  of: number;
  rows: Cell[][];
}

export interface EpisodeLeaf {
  name: string;
  kind: LeafKind;
  dtype: string;
  shape: number[];
  rows: number;
  components: number;
  min: number | null;
  max: number | null;
  agent: string | null;
  frame: { height: number; width: number } | null;
}

export interface Episode {
  id: number;
  revision: string;
  length: number;
  return: number | null | (number | null)[];
  terminated: boolean;
  truncated: boolean;
  fps: number; // steps per second
  metadata: { [key: string]: Json };
  agents: string[];
  leaves: EpisodeLeaf[];
}

export interface Series {
  steps: number[];
  components: { label: string; values: (number | null)[] }[];
  omitted: number;
}

export interface Texts {
  texts: { step: number; text: string }[];
  cut: boolean;
}

export interface ComparedDistribution {
  label: string;
  summaries: [Summary, Summary];
  edges: number[];
  labels: string[];
  counts: [number[], number[]];
}

export interface ComparedLeaf extends ComparedDistribution {
  name: string;
}

export interface Comparison {
  datasets: [string, string];
  facts: { key: string; title: string; texts: [string | null, string | null]; same: boolean }[];
  returns: ComparedDistribution[];
  lengths: ComparedDistribution;
  leaves: ComparedLeaf[];
  only_in: [string[], string[]];
}

export interface Marked {
  revision: string;
  report: string[];
}

export interface DropPlan {
  report: string[];
  episodes_after: number;
  steps_after: number;
  size_before: number;
}

export interface Dropped {
  revision: string;
  dataset: string;
  report: string[];
}
