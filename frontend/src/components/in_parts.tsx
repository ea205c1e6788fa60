/** A long list of costly parts of the page, of which more are shown when they are asked for. */

import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import { count } from "../format";

const AT_ONCE = 60;

interface InPartsProps<T> {
  items: readonly T[];
  noun: string; // of several items
  show: (item: T, place: number) => ComponentChildren;
  children?: ComponentChildren; // after the items
}

export function InParts<T>({ items, noun, show, children }: InPartsProps<T>) {
  const [most, setMost] = useState(AT_ONCE);
  const left = items.length - most;
  return (
    <>
      <div class="multiples">
        {items.slice(0, most).map(show)}
        {children}
      </div>
      {left > 0 && (
        <p class="more-parts">
          <button type="button" onClick={() => setMost(most + AT_ONCE)} data-testid="more-parts">
            Show {Math.min(left, AT_ONCE)} more
          </button>{" "}
          <span class="muted">
            {count(left)} {noun} not shown yet
          </span>
        </p>
      )}
    </>
  );
}
