/** Conditions for ranges that are chosen in histograms, combined with what the filter says already. */

import type { Histogram } from "./data/types";

const DIGITS = 6;

function rounded(value: number, direction: "down" | "up" | "near"): string {
  if (Number.isInteger(value) && Math.abs(value) < 1e15) return String(value);
  const near = Number(value.toPrecision(DIGITS));
  const unit = 10 ** (Math.floor(Math.log10(Math.abs(value))) - DIGITS + 1);
  if (direction === "down" && near > value) return String(Number((near - unit).toPrecision(DIGITS)));
  if (direction === "up" && near < value) return String(Number((near + unit).toPrecision(DIGITS)));
  return String(near);
}

/** Parts of a nested value as conditions have them: `options.goal`, or `metadata["a b"].c`. */
function nested(parts: string[], root: string): string {
  const access = (part: string) => (/^[A-Za-z_]\w*$/.test(part) ? `.${part}` : `[${JSON.stringify(part)}]`);
  return (root + parts.map(access).join("")).replace(/^\./, "");
}

/** The name by which conditions call a column of the table, such as `options/goal` or `agents/wolf/return`. */
export function nameOf(column: string): string {
  const [first = "", second = "", ...rest] = column.split("/");
  if (first === "agents" && rest.length) return nested(rest, `agents[${JSON.stringify(second)}]`);
  if (first === "metadata" && second) return `metadata[${JSON.stringify([second, ...rest].join("/"))}]`;
  return nested(column.split("/"), /^[A-Za-z_]/.test(first) && !/\W/.test(first) ? "" : "metadata");
}

/** Whether bins hold whole numbers, such as "3" or "3 to 5", so that each ends before the edge of the next. */
export function isWhole({ edges, labels }: Pick<Histogram, "edges" | "labels">): boolean {
  const [low, high] = edges;
  if (low === undefined || high === undefined || !edges.every(Number.isInteger)) return false;
  return labels[0] === String(low) || labels[0] === `${low} to ${high - 1}`;
}

/** The condition that a name has a value in the bins from `first` to `last`, which are included. */
export function rangeCondition(name: string, histogram: Histogram, first: number, last: number): string {
  const { edges } = histogram;
  const bins = histogram.counts.length;
  const [low, high] = [edges[first], edges[last + 1]];
  if (low === undefined || high === undefined) throw new RangeError(`There are ${bins} bins, not ${last + 1}.`);
  if (low === high) return `${name} == ${low}`;
  if (isWhole(histogram)) return high - low === 1 ? `${name} == ${low}` : `${low} <= ${name} <= ${high - 1}`;
  const isEnd = last === bins - 1;
  const from = rounded(low, first === 0 ? "down" : "near");
  const to = rounded(high, isEnd ? "up" : "near");
  return `${from} <= ${name} ${isEnd ? "<=" : "<"} ${to}`;
}

/** Split a condition at each `and` outside of quotes and brackets. */
function conjuncts(where: string): string[] {
  const parts: string[] = [];
  let depth = 0;
  let quote = "";
  let start = 0;
  for (let place = 0; place < where.length; place++) {
    const sign = where.charAt(place);
    if (quote) {
      if (sign === "\\") place++;
      else if (sign === quote) quote = "";
    } else if (sign === '"' || sign === "'") quote = sign;
    else if ("([{".includes(sign)) depth++;
    else if (")]}".includes(sign)) depth--;
    else if (depth === 0 && /\s/.test(sign) && /^\s(and|or)\s/.test(where.slice(place, place + 5))) {
      if (/^\sor/.test(where.slice(place, place + 3))) return [`(${where.trim()})`];
      parts.push(where.slice(start, place).trim());
      start = place + 5;
      place += 3;
    }
  }
  parts.push(where.slice(start).trim());
  return parts.filter(Boolean);
}

function isRangeOf(name: string, condition: string): boolean {
  const figure = String.raw`-?[0-9.]+(?:e[+-]?[0-9]+)?`;
  const escapedName = name.replace(/[.*+?^${}()|[\]\\]/g, String.raw`\$&`);
  const range = new RegExp(`^(?:${figure}\\s*<=?\\s*)?${escapedName}\\s*(?:(?:[<>]=?|==)\\s*${figure})?$`);
  return condition !== name && range.test(condition);
}

/** Add a range to a filter, in place of another range of the same name. */
export function withRange(where: string, name: string, range: string): string {
  const others = conjuncts(where).filter((condition) => !isRangeOf(name, condition));
  return [...others, range].join(" and ");
}
