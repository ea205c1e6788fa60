/** Requests to the server, each with the token and cancelable. */

import type {
  Catalog,
  Comparison,
  Dataset,
  Distributions,
  DropPlan,
  Dropped,
  Episode,
  EpisodeRows,
  Json,
  LeafSummaries,
  Marked,
  Series,
  Texts,
} from "./types";

const TOKEN_KEY = "minari.token";

/** The server's refusal, or status 0 if it did not answer. */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    readonly kind: string,
    message: string,
  ) {
    super(message);
    this.name = "ApiError";
  }
}

export function isCanceled(error: unknown): boolean {
  return error instanceof DOMException && error.name === "AbortError";
}

let token = "";

export function keepToken(found: string | null): void {
  try {
    if (found) localStorage.setItem(TOKEN_KEY, found);
    token = found ?? localStorage.getItem(TOKEN_KEY) ?? "";
  } catch {
    token = found ?? ""; // storage is switched off; the token then lasts until the page is reloaded
  }
}

type Parameters = Record<string, string | number | undefined>;

function address(path: string, parameters: Parameters | URLSearchParams): string {
  if (parameters instanceof URLSearchParams) return `/api/${path}?${parameters}`;
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) {
    if (value !== undefined && value !== "") query.set(name, String(value));
  }
  const text = query.toString();
  return text ? `/api/${path}?${text}` : `/api/${path}`;
}

async function send(url: string, init: RequestInit): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(url, {
      ...init,
      headers: { ...init.headers, Authorization: `Bearer ${token}` },
      cache: "no-store",
      redirect: "error",
    });
  } catch (error) {
    if (isCanceled(error)) throw error;
    throw new ApiError(0, "NoAnswer", "The server does not answer.");
  }
  if (response.ok) return response;
  throw await refusal(response);
}

async function refusal(response: Response): Promise<ApiError> {
  let kind = "HttpError";
  let message = `The server answered with status ${response.status}.`;
  try {
    const body = (await response.json()) as { error?: string; kind?: string };
    message = body.error ?? message;
    kind = body.kind ?? kind;
  } catch {
    // Not JSON: the status is all that there is to say.
  }
  return new ApiError(response.status, kind, message);
}

async function get<T>(path: string, parameters: Parameters | URLSearchParams, signal: AbortSignal): Promise<T> {
  const response = await send(address(path, parameters), { signal });
  return (await response.json()) as T;
}

/** Tells of an event `change` when a part of an episode cannot be had, as its dataset has changed since. */
export const outdated = new EventTarget();

/** A part of an episode of one revision of its dataset. */
export interface Part {
  dataset: string;
  episode: number;
  revision: string;
  leaf: string;
}

async function sendForPart(path: string, part: Part, further: Parameters, signal: AbortSignal): Promise<Response> {
  try {
    return await send(address(path, { ...part, ...further }), { signal });
  } catch (error) {
    if (error instanceof ApiError && error.status === 409) outdated.dispatchEvent(new Event("change"));
    throw error;
  }
}

async function post<T>(path: string, body: { [key: string]: Json }): Promise<T> {
  const response = await send(`/api/${path}`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  });
  return (await response.json()) as T;
}

export interface EpisodeQuery {
  where: string;
  sort: string;
  descending: boolean;
  offset: number;
  limit: number;
}

/** Frames as the server sends them: 8-bit RGB, one after the other. */
export interface FrameBlock {
  start: number;
  count: number;
  height: number;
  width: number;
  bytes: Uint8Array;
}

function headerNumber(response: Response, name: string): number {
  const value = Number(response.headers.get(name) ?? NaN);
  if (!Number.isInteger(value) || value < 0)
    throw new ApiError(0, "BadAnswer", `The server sent frames without ${name}.`);
  return value;
}

export const api = {
  catalog: (signal: AbortSignal) => get<Catalog>("catalog", {}, signal),

  dataset: (dataset: string, signal: AbortSignal) => get<Dataset>("dataset", { dataset }, signal),

  distributions: (dataset: string, where: string, signal: AbortSignal) =>
    get<Distributions>("distributions", { dataset, where }, signal),

  leaves: (dataset: string, signal: AbortSignal) => get<LeafSummaries>("leaves", { dataset }, signal),

  episodes: (dataset: string, query: EpisodeQuery, signal: AbortSignal) =>
    get<EpisodeRows>("episodes", { dataset, ...query, descending: query.descending ? 1 : 0 }, signal),

  episode: (dataset: string, episode: number, signal: AbortSignal) =>
    get<Episode>("episode", { dataset, episode }, signal),

  async series(part: Part, most: number, signal: AbortSignal): Promise<Series> {
    return (await (await sendForPart("series", part, { most }, signal)).json()) as Series;
  },

  async texts(part: Part, signal: AbortSignal): Promise<Texts> {
    return (await (await sendForPart("texts", part, {}, signal)).json()) as Texts;
  },

  compare: (a: string, b: string, signal: AbortSignal) =>
    get<Comparison>(
      "compare",
      new URLSearchParams([
        ["dataset", a],
        ["dataset", b],
      ]),
      signal,
    ),

  async frames(part: Part, start: number, stop: number, signal: AbortSignal): Promise<FrameBlock> {
    const response = await sendForPart("frames", part, { start, stop }, signal);
    const block = {
      start: headerNumber(response, "X-Frames-Start"),
      count: headerNumber(response, "X-Frames-Count"),
      height: headerNumber(response, "X-Frame-Height"),
      width: headerNumber(response, "X-Frame-Width"),
    };
    const bytes = new Uint8Array(await response.arrayBuffer());
    if (bytes.length !== block.count * block.height * block.width * 3) {
      throw new ApiError(0, "BadAnswer", `The server sent ${bytes.length} bytes for ${block.count} frames.`);
    }
    return { ...block, bytes };
  },

  mark: (dataset: string, revision: string, episodes: number[], key: string, value: string | number | boolean | null) =>
    post<Marked>("mark", { dataset, revision, episodes, key, value }),

  planDrop: (dataset: string, revision: string, episodes: number[]) =>
    post<DropPlan>("drop", { dataset, revision, episodes, confirm: false, new_dataset_id: null }),

  drop: (dataset: string, revision: string, episodes: number[], newId: string | null) =>
    post<Dropped>("drop", { dataset, revision, episodes, confirm: true, new_dataset_id: newId }),
};
