/** Short messages about what was done, which disappear by themselves. */

import { useEffect, useState } from "preact/hooks";

interface Toast {
  key: number;
  lines: string[];
}

const SHOWN_FOR = 8000; // milliseconds
let toasts: Toast[] = [];
let next = 0;
const changes = new EventTarget();

function set(changed: Toast[]): void {
  toasts = changed;
  changes.dispatchEvent(new Event("change"));
}

export function say(lines: string[]): void {
  const toast = { key: next++, lines };
  set([...toasts, toast]);
  setTimeout(() => set(toasts.filter((other) => other !== toast)), SHOWN_FOR);
}

export function Toasts() {
  const [shown, setShown] = useState(toasts);
  useEffect(() => {
    const changed = () => setShown(toasts);
    changes.addEventListener("change", changed);
    return () => changes.removeEventListener("change", changed);
  }, []);
  return (
    <div class="toasts" role="status" aria-live="polite">
      {shown.map((toast) => (
        <div class="toast" key={toast.key} data-testid="toast">
          {toast.lines.map((line, place) => (
            <p key={place}>{line}</p>
          ))}
          <button type="button" class="quiet" onClick={() => set(toasts.filter((other) => other !== toast))}>
            Dismiss
          </button>
        </div>
      ))}
    </div>
  );
}
