/** Numbers, sizes, times and values as text. */

import type { EpisodeLeaf, Json } from "./data/types";

const MINUS = "−";
const grouped = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });

function signed(text: string): string {
  return text.replace("-", MINUS);
}

/** A count with separators: 12,345. */
export function count(value: number | null): string {
  return value === null ? "–" : signed(grouped.format(value));
}

/** A count with its noun: "1 episode", "3 episodes". */
export function counted(value: number, noun: string): string {
  return `${count(value)} ${noun}${value === 1 ? "" : "s"}`;
}

/** A number with at most `digits` significant digits, without trailing zeros. */
export function number(value: number | null | undefined, digits = 4): string {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  if (!Number.isFinite(value)) return value > 0 ? "∞" : `${MINUS}∞`;
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (Number.isInteger(value) && size < 1e7) return signed(grouped.format(value));
  if (size >= 1e7 || size < 1e-4) {
    const [mantissa = "", exponent = ""] = value.toExponential(Math.min(digits - 1, 2)).split("e");
    const short = mantissa.includes(".") ? mantissa.replace(/\.?0+$/, "") : mantissa;
    return signed(`${short}e${Number(exponent)}`);
  }
  const rounded = Number(value.toPrecision(digits));
  return signed(new Intl.NumberFormat("en-US", { maximumSignificantDigits: Math.max(digits, 1) }).format(rounded));
}

/** A number of fixed width for values that change: digits after the point depend on the range only. */
export function steady(value: number | null | undefined, range: number): string {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  if (!Number.isFinite(value)) return number(value);
  if (!(range > 0) || !Number.isFinite(range)) return number(value);
  const digits = Math.min(Math.max(4 - Math.floor(Math.log10(range)), 0), 8);
  return Math.abs(value) >= 1e7 || digits === 8 ? number(value, 4) : signed(value.toFixed(digits));
}

/** A number with so many digits after the point, for columns. */
export function decimal(value: number, digits: number): string {
  if (!Number.isFinite(value) || Math.abs(value) >= 1e9) return number(value, 6);
  const options = { minimumFractionDigits: digits, maximumFractionDigits: digits };
  return signed(new Intl.NumberFormat("en-US", options).format(value));
}

/** A value of a leaf: whole numbers and flags as such, others steady in the range of the leaf. */
export function figure(
  leaf: Pick<EpisodeLeaf, "kind" | "dtype" | "min" | "max">,
  found: number | null | undefined,
): string {
  if (leaf.kind === "flag" && typeof found === "number") return found ? "true" : "false";
  if (/^u?int/.test(leaf.dtype)) return number(found);
  return steady(found, (leaf.max ?? 0) - (leaf.min ?? 0));
}

/** The name of a leaf or a column, without the prefix that all of those of agents share. */
export function brief(name: string): string {
  return name.replace(/^agents\//, "");
}

/** The last parts of names, as many as tell them apart. */
export function shortest(names: string[]): string[] {
  for (let parts = 1; parts < 8; parts++) {
    const ends = names.map((name) => name.split("/").slice(-parts).join("/"));
    if (new Set(ends).size === names.length) return ends;
  }
  return names;
}

/** A size given in megabytes. */
export function megabytes(value: number | null): string {
  if (value === null) return "–";
  if (value >= 1000) return `${number(value / 1000, 3)} GB`;
  if (value >= 1) return `${number(value, 3)} MB`;
  if (value >= 0.1) return `${value.toFixed(1)} MB`;
  return "< 0.1 MB";
}

export function percent(part: number, whole: number): string {
  if (whole === 0) return "0%";
  const share = (100 * part) / whole;
  if (part > 0 && share < 0.1) return "< 0.1%";
  return `${share >= 10 || share === 0 ? Math.round(share) : share.toFixed(1)}%`;
}

/** Seconds as 0:07.3 or 12:05.0. */
export function clock(seconds: number): string {
  const tenths = Math.floor(seconds * 10 + 1e-6);
  const minutes = Math.floor(tenths / 600);
  const rest = (tenths % 600) / 10;
  return `${minutes}:${rest.toFixed(1).padStart(4, "0")}`;
}

export function shape(sizes: number[]): string {
  return sizes.length ? sizes.join("×") : "scalar";
}

/** Any JSON value in one line. */
export function value(json: Json | undefined): string {
  if (json === null || json === undefined) return "–";
  if (typeof json === "number") return number(json, 6);
  if (typeof json === "boolean") return json ? "true" : "false";
  if (typeof json === "string") return json;
  if (Array.isArray(json)) return `[${json.map(value).join(", ")}]`;
  return Object.entries(json)
    .map(([key, part]) => `${key}: ${value(part)}`)
    .join(", ");
}

export function shortened(text: string, most: number): string {
  return text.length <= most ? text : `${text.slice(0, most - 1)}…`;
}
