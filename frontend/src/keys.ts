/** Keys of the page: each place says which it takes, and the help lists them. */

import { useLayoutEffect, useRef } from "preact/hooks";

export interface KeyBinding {
  keys: string[]; // as KeyboardEvent.key, with "Shift+" in front if it matters
  shown: string; // as the help shows them
  does: string;
  run: (event: KeyboardEvent) => void;
  inFields?: boolean; // also while typing
}

interface Layer {
  title: string;
  bindings: KeyBinding[];
}

const layers: Layer[] = [];

/** The keys of the present place by title, those of its parts together, the most special first. */
export function keyHelp(): readonly Layer[] {
  const found = new Map<string, KeyBinding[]>();
  for (const { title, bindings } of [...layers].reverse()) {
    const described = bindings.filter((binding) => binding.does);
    if (described.length) found.set(title, [...(found.get(title) ?? []), ...described]);
  }
  return [...found].map(([title, bindings]) => ({ title, bindings }));
}

function isField(target: EventTarget | null): boolean {
  if (target instanceof HTMLInputElement) return !["checkbox", "radio", "button", "range"].includes(target.type);
  return target instanceof HTMLTextAreaElement || target instanceof HTMLSelectElement;
}

/** Whether a key means something to the element that has the focus. */
function isTaken(event: KeyboardEvent): boolean {
  if (event.key !== "Enter" && event.key !== " ") return false;
  return (
    event.target instanceof Element && event.target.matches("button, a, summary, select, [type=checkbox], [type=radio]")
  );
}

function pressed(event: KeyboardEvent): string[] {
  return event.shiftKey && event.key.length > 1 ? [`Shift+${event.key}`] : [event.key];
}

addEventListener("keydown", (event) => {
  if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
  if (isTaken(event) || document.querySelector("dialog[open]")) return;
  const names = pressed(event);
  for (const layer of [...layers].reverse()) {
    const found = layer.bindings.find((binding) => binding.keys.some((key) => names.includes(key)));
    if (found && (found.inFields || !isField(event.target))) {
      event.preventDefault();
      found.run(event);
      return;
    }
  }
});

/** Take keys while the component is shown. */
export function useKeys(title: string, bindings: KeyBinding[]): void {
  const current = useRef(bindings);
  current.current = bindings;
  // At once: a key may follow the first sight of a component.
  useLayoutEffect(() => {
    const layer: Layer = {
      title,
      get bindings() {
        return current.current;
      },
    };
    layers.push(layer);
    return () => {
      layers.splice(layers.indexOf(layer), 1);
    };
  }, [title]);
}
