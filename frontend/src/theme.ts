/** The choice of light, dark or what the system has, and the colors that canvases need. */

import { useEffect, useState } from "preact/hooks";

export type Theme = "system" | "light" | "dark";

const KEY = "minari.theme";
const NEXT: Record<Theme, Theme> = { system: "light", light: "dark", dark: "system" };
const changes = new EventTarget();

function stored(): Theme {
  try {
    const found = localStorage.getItem(KEY);
    return found === "light" || found === "dark" ? found : "system";
  } catch {
    return "system";
  }
}

let theme = stored();

export function applyTheme(): void {
  if (theme === "system") delete document.documentElement.dataset["theme"];
  else document.documentElement.dataset["theme"] = theme;
}

function setTheme(next: Theme): void {
  theme = next;
  try {
    localStorage.setItem(KEY, next);
  } catch {
    // Storage is switched off: the choice lasts until the page is reloaded.
  }
  applyTheme();
  changes.dispatchEvent(new Event("change"));
}

export function useTheme(): { theme: Theme; next: () => void } {
  const [current, setCurrent] = useState(theme);
  useEffect(() => {
    const changed = () => setCurrent(theme);
    changes.addEventListener("change", changed);
    return () => changes.removeEventListener("change", changed);
  }, []);
  return { theme: current, next: () => setTheme(NEXT[theme]) };
}

/** Call back when the colors may have changed; returns what ends that. */
export function onThemeChange(changed: () => void): () => void {
  const query = matchMedia("(prefers-color-scheme: dark)");
  changes.addEventListener("change", changed);
  query.addEventListener("change", changed);
  return () => {
    changes.removeEventListener("change", changed);
    query.removeEventListener("change", changed);
  };
}

export interface PlotColors {
  ink: string;
  grid: string;
  series: string[];
}

export const SERIES_COLORS = 8;

export function plotColors(): PlotColors {
  const style = getComputedStyle(document.documentElement);
  const color = (name: string) => style.getPropertyValue(name).trim();
  const series = Array.from({ length: SERIES_COLORS }, (_, place) => color(`--series-${place + 1}`));
  return { ink: color("--ink-3"), grid: color("--line"), series };
}
