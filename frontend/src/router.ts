/** Places of the page as hashes of its address, such as `#/episode?id=door/human-v2&n=3`. */

import { useLayoutEffect, useState } from "preact/hooks";

export type Route =
  | { page: "catalog" }
  | { page: "dataset"; id: string; where: string; sort: string; descending: boolean }
  | { page: "episode"; id: string; n: number; step: number }
  | { page: "compare"; a: string; b: string }
  | { page: "unknown"; hash: string };

/** Parts that are easier to read unescaped, and harmless in a fragment. */
function escaped(text: string): string {
  return encodeURIComponent(text).replaceAll("%2F", "/");
}

export const links = {
  catalog: () => "#/",
  dataset: (id: string, where = "", sort = "", descending = false) =>
    `#/dataset?id=${escaped(id)}` +
    (where ? `&where=${escaped(where)}` : "") +
    (sort ? `&sort=${escaped(sort)}` : "") +
    (descending ? "&descending=1" : ""),
  episode: (id: string, n: number, step = 0) => `#/episode?id=${escaped(id)}&n=${n}` + (step ? `&step=${step}` : ""),
  compare: (a: string, b: string) => `#/compare?a=${escaped(a)}&b=${escaped(b)}`,
};

function whole(text: string | null): number | null {
  return text !== null && /^\d{1,15}$/.test(text) ? Number(text) : null;
}

export function parseRoute(hash: string): Route {
  const [path = "", query = ""] = hash.replace(/^#\/?/, "").split(/\?(.*)/s);
  const found = new URLSearchParams(query);
  const id = found.get("id") ?? "";
  const n = whole(found.get("n"));
  const [a, b] = [found.get("a"), found.get("b")];
  if (path === "") return { page: "catalog" };
  if (path === "dataset" && id) {
    const where = found.get("where") ?? "";
    return { page: "dataset", id, where, sort: found.get("sort") ?? "", descending: found.get("descending") === "1" };
  }
  if (path === "episode" && id && n !== null) return { page: "episode", id, n, step: whole(found.get("step")) ?? 0 };
  if (path === "compare" && a && b) return { page: "compare", a, b };
  return { page: "unknown", hash };
}

/** Split the token off the fragment that `minari view` prints, `#token=…` or `#token=…&dataset=ID`. */
export function splitToken(hash: string): { token: string | null; hash: string } {
  if (!hash.startsWith("#token=")) return { token: null, hash };
  const found = new URLSearchParams(hash.slice(1));
  const dataset = found.get("dataset");
  return { token: found.get("token"), hash: dataset ? links.dataset(dataset) : links.catalog() };
}

export function go(hash: string): void {
  location.hash = hash;
}

/** Change the address without a new entry in the history. */
export function replace(hash: string): void {
  if (hash === location.hash) return;
  history.replaceState(null, "", hash);
  dispatchEvent(new HashChangeEvent("hashchange"));
}

/** Change the address without telling the page, which shows that place already. */
export function note(hash: string): void {
  if (hash !== location.hash) history.replaceState(null, "", hash);
}

export function useRoute(): Route {
  const [route, setRoute] = useState(() => parseRoute(location.hash));
  useLayoutEffect(() => {
    const changed = () => setRoute(parseRoute(location.hash));
    addEventListener("hashchange", changed);
    return () => removeEventListener("hashchange", changed);
  }, []);
  return route;
}
