/** The dialogs that change a dataset: marking episodes and dropping them, each asked for and confirmed. */

import { useState } from "preact/hooks";
import { api, ApiError } from "../data/api";
import { count, counted, megabytes } from "../format";
import { useRequest } from "../data/request";
import type { Dropped, Marked } from "../data/types";
import { Dialog } from "./dialog";
import { Failure, Skeleton } from "./states";

interface EditProps {
  dataset: string;
  revision: string;
  episodes: number[];
  onClose: () => void;
}

const SUGGESTIONS = ["good", "bad", "review"];
const LISTED = 12; // episode numbers in a sentence

export function episodesText(episodes: number[]): string {
  if (episodes.length === 1) return `episode ${episodes[0]}`;
  return counted(episodes.length, "episode");
}

function Numbers({ episodes }: { episodes: number[] }) {
  if (episodes.length === 1) return null;
  const more = episodes.length - LISTED;
  return (
    <p class="muted fixed">
      {episodes.slice(0, LISTED).join(", ")}
      {more > 0 && ` and ${count(more)} more`}
    </p>
  );
}

function Report({ lines }: { lines: string[] }) {
  if (lines.length === 0) return null;
  return (
    <ul class="report" data-testid="report">
      {lines.map((line, place) => (
        <li key={place}>{line}</li>
      ))}
    </ul>
  );
}

/** Work that a button starts: its state and its error. */
function useWork<T>(work: () => Promise<T>, done: (result: T) => void) {
  const [working, setWorking] = useState(false);
  const [error, setError] = useState<unknown>(null);
  const run = () => {
    setWorking(true);
    setError(null);
    work().then(done, (failed: unknown) => {
      setError(failed);
      setWorking(false);
    });
  };
  return { working, error, run };
}

/** A dataset that has changed meanwhile is read again with the whole page. */
function retry(error: unknown): { onRetry?: () => void } {
  return error instanceof ApiError && error.status === 409 ? { onRetry: () => location.reload() } : {};
}

type Form = "text" | "number" | "flag";

function parsed(form: Form, text: string): string | number | boolean | undefined {
  if (form === "text") return text.trim() || undefined;
  if (form === "flag") return text === "true";
  const value = Number(text);
  return text.trim() && Number.isFinite(value) ? value : undefined;
}

export function MarkDialog(props: EditProps & { onMarked: (marked: Marked) => void }) {
  const { dataset, revision, episodes, onClose, onMarked } = props;
  const [key, setKey] = useState("mark");
  const [form, setForm] = useState<Form>("text");
  const [text, setText] = useState("");
  const value = parsed(form, text);
  const set = useWork(() => api.mark(dataset, revision, episodes, key.trim(), value ?? null), onMarked);
  const remove = useWork(() => api.mark(dataset, revision, episodes, key.trim(), null), onMarked);
  const busy = set.working || remove.working;
  const isReady = key.trim() !== "" && value !== undefined && !busy;
  const error = set.error ?? remove.error;

  return (
    <Dialog title={`Mark ${episodesText(episodes)}`} testid="mark-dialog" onClose={onClose}>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          if (isReady) set.run();
        }}
      >
        <Numbers episodes={episodes} />
        <p>
          Writes a value into the metadata of {episodes.length === 1 ? "the episode" : "each of these episodes"}. The
          filter finds it again
          {key.trim() && form === "text" ? (
            <>
              , as in <code>{`${key.trim()} == "${text.trim() || "good"}"`}</code>
            </>
          ) : null}
          .
        </p>
        <div class="fields">
          <label>
            Key
            <input
              value={key}
              onInput={(event) => setKey(event.currentTarget.value)}
              spellcheck={false}
              data-testid="mark-key"
            />
          </label>
          <label>
            Kind
            <select
              value={form}
              onChange={(event) => {
                const next = event.currentTarget.value as Form;
                setForm(next);
                setText(next === "flag" ? "true" : "");
              }}
              data-testid="mark-kind"
            >
              <option value="text">Text</option>
              <option value="number">Number</option>
              <option value="flag">True or false</option>
            </select>
          </label>
          <label class="grow">
            Value
            {form === "flag" ? (
              <select value={text} onChange={(event) => setText(event.currentTarget.value)} data-testid="mark-value">
                <option value="true">true</option>
                <option value="false">false</option>
              </select>
            ) : (
              <input
                data-focus
                value={text}
                inputMode={form === "number" ? "decimal" : "text"}
                onInput={(event) => setText(event.currentTarget.value)}
                data-testid="mark-value"
              />
            )}
          </label>
        </div>
        {form === "text" && (
          <p class="suggestions">
            {SUGGESTIONS.map((word) => (
              <button type="button" key={word} class="chip" onClick={() => setText(word)}>
                {word}
              </button>
            ))}
          </p>
        )}
        {error !== null && <Failure error={error} title="Nothing was marked" {...retry(error)} compact />}
        <footer>
          <button type="button" onClick={onClose}>
            Cancel
          </button>
          <button type="button" disabled={busy || key.trim() === ""} onClick={remove.run} data-testid="mark-remove">
            Remove this key
          </button>
          <button type="submit" class="primary" disabled={!isReady} data-testid="mark-confirm">
            {busy ? "Writing…" : "Mark"}
          </button>
        </footer>
      </form>
    </Dialog>
  );
}

export function DropDialog(props: EditProps & { onDropped: (dropped: Dropped) => void }) {
  const { dataset, revision, episodes, onClose, onDropped } = props;
  const [asCopy, setAsCopy] = useState(false);
  const [newId, setNewId] = useState("");
  const plan = useRequest("plan", () => api.planDrop(dataset, revision, episodes));
  const drop = useWork(() => api.drop(dataset, revision, episodes, asCopy ? newId.trim() : null), onDropped);
  const isReady = plan.data !== null && !drop.working && (!asCopy || newId.trim() !== "");
  const what = episodesText(episodes);

  return (
    <Dialog title={`Drop ${what}?`} testid="drop-dialog" onClose={onClose}>
      <Numbers episodes={episodes} />
      {plan.loading && <Skeleton label="what would change" />}
      {plan.error !== null && (
        <Failure error={plan.error} title="Could not find out what would change" {...retry(plan.error)} compact />
      )}
      {plan.data && (
        <>
          <dl class="summary wide">
            <div>
              <dt>episodes after</dt>
              <dd>{count(plan.data.episodes_after)}</dd>
            </div>
            <div>
              <dt>steps after</dt>
              <dd>{count(plan.data.steps_after)}</dd>
            </div>
            <div>
              <dt>size now</dt>
              <dd>{megabytes(plan.data.size_before)}</dd>
            </div>
          </dl>
          <Report lines={plan.data.report} />
          <fieldset>
            <label class="choice">
              <input type="radio" name="where" checked={!asCopy} onChange={() => setAsCopy(false)} />
              <span>
                Change <b>{dataset}</b> itself. This cannot be undone.
              </span>
            </label>
            <label class="choice">
              <input
                type="radio"
                name="where"
                checked={asCopy}
                onChange={() => setAsCopy(true)}
                data-testid="drop-copy"
              />
              <span>Leave it as it is, and write the others to a new dataset</span>
            </label>
            {asCopy && (
              <input
                value={newId}
                placeholder="namespace/name-v0"
                aria-label="Id of the new dataset"
                spellcheck={false}
                onInput={(event) => setNewId(event.currentTarget.value)}
                data-testid="drop-new-id"
              />
            )}
          </fieldset>
        </>
      )}
      {drop.error !== null && <Failure error={drop.error} title="Nothing was dropped" {...retry(drop.error)} compact />}
      <footer>
        <button type="button" onClick={onClose} data-focus>
          Cancel
        </button>
        <button type="button" class="danger" disabled={!isReady} onClick={drop.run} data-testid="drop-confirm">
          {drop.working ? "Dropping…" : `Drop ${what}`}
        </button>
      </footer>
    </Dialog>
  );
}
