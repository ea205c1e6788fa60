/** What is shown instead of data: while it loads, if there is none, and if it cannot be had. */

import type { ComponentChildren } from "preact";
import { ApiError } from "../data/api";
import { Icon } from "./icons";

export function Skeleton({ lines = 3, label }: { lines?: number; label: string }) {
  return (
    <div class="skeleton" role="status" aria-label={`Loading ${label}`} data-testid="loading">
      {Array.from({ length: lines }, (_, line) => (
        <span key={line} style={{ width: `${[92, 64, 78, 48][line % 4] ?? 60}%` }} />
      ))}
    </div>
  );
}

/** The outlines of what is loading, so that nothing moves when it is there. */
export function Outlines({ count, height, label }: { count: number; height: number; label: string }) {
  return (
    <div class="outlines" role="status" aria-label={`Loading ${label}`} data-testid="loading">
      {Array.from({ length: count }, (_, place) => (
        <span key={place} style={{ height: `${height}px` }} />
      ))}
    </div>
  );
}

export function Empty({ title, testid, children }: { title: string; testid: string; children?: ComponentChildren }) {
  return (
    <section class="empty" data-testid={testid}>
      <h2>{title}</h2>
      {children}
    </section>
  );
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** The page for a missing or wrong token. */
function Locked() {
  return (
    <section class="empty" role="alert" data-testid="locked">
      <h2>
        Open the address that <code>minari view</code> printed
      </h2>
      <p>
        It ends with <code>#token=…</code>, which proves to the server that the page is yours. Each start of{" "}
        <code>minari view</code> has a new one.
      </p>
    </section>
  );
}

interface FailureProps {
  error: unknown;
  title: string; // such as "Could not load the episodes"
  onRetry?: () => void;
  compact?: boolean;
}

function advice(error: unknown): string {
  if (!(error instanceof ApiError)) return "This is a mistake in the page itself. Reloading it may help.";
  if (error.status === 0 && error.kind === "NoAnswer")
    return "Is minari view still running? Start it again and open the address that it prints.";
  if (error.status === 409) return "Reload to see the dataset as it is now.";
  if (error.status === 422) return "minari validate says what is damaged.";
  return "";
}

export function Failure({ error, title, onRetry, compact = false }: FailureProps) {
  if (error instanceof ApiError && error.status === 401) return <Locked />;
  const hint = advice(error);
  return (
    <section class={compact ? "failure compact" : "failure"} role="alert" data-testid="error">
      <Icon name="warning" />
      <div>
        <h2>{title}</h2>
        <p class="sentence">{messageOf(error)}</p>
        {hint && <p class="muted">{hint}</p>}
        {onRetry && (
          <button type="button" onClick={onRetry} data-testid="retry">
            {error instanceof ApiError && error.status === 409 ? "Reload" : "Try again"}
          </button>
        )}
      </div>
    </section>
  );
}

export function Problem({ text }: { text: string }) {
  return (
    <p class="problem" role="alert" data-testid="problem">
      <Icon name="warning" />
      <span>{text}</span>
    </p>
  );
}
