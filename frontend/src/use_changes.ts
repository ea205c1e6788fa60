/** A hook that renders a component again whenever a source of changes says so. */

import { useEffect, useState } from "preact/hooks";

export interface Source {
  listen: (listener: () => void) => () => void;
}

/** Milliseconds between renderings of what people read as numbers, while an episode plays. */
export const READABLE = 80;

/** Render on changes, at most once in `interval` milliseconds; the last change is never left out. */
export function useChanges(source: Source, interval = 0): void {
  const [, setCount] = useState(0);
  useEffect(() => {
    let timer = 0;
    let last = -Infinity;
    const render = () => {
      timer = 0;
      last = performance.now();
      setCount((count) => count + 1);
    };
    const stop = source.listen(() => {
      const wait = last + interval - performance.now();
      if (wait <= 0) render();
      else if (timer === 0) timer = window.setTimeout(render, wait);
    });
    return () => {
      stop();
      clearTimeout(timer);
    };
  }, [source, interval]);
}
