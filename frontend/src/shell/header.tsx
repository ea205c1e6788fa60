/** The bar at the top: where one is, the theme, and the help. */

import type { Route } from "../router";
import { links } from "../router";
import type { Theme } from "../theme";
import { useTheme } from "../theme";
import { getTrail } from "../trail";
import { Icon } from "../components/icons";

const THEME_NAMES: Record<Theme, string> = { system: "as the system", light: "light", dark: "dark" };

function datasetLink(id: string): string {
  const trail = getTrail(id);
  return trail ? links.dataset(id, trail.where, trail.sort, trail.descending) : links.dataset(id);
}

function Crumbs({ route }: { route: Route }) {
  if (route.page === "dataset") return <span aria-current="page">{route.id}</span>;
  if (route.page === "episode") {
    return (
      <>
        <a href={datasetLink(route.id)} data-testid="crumb-dataset">
          {route.id}
        </a>
        <i aria-hidden="true">/</i>
        <span aria-current="page" class="fixed">
          episode {route.n}
        </span>
      </>
    );
  }
  if (route.page === "compare") return <span aria-current="page">compare</span>;
  return null;
}

export function Header({ route, onHelp }: { route: Route; onHelp: () => void }) {
  const { theme, next } = useTheme();
  return (
    <header class="bar">
      <nav aria-label="Place">
        <a class="home" href={links.catalog()} data-testid="home">
          <svg viewBox="0 0 16 16" width="16" height="16" aria-hidden="true">
            <path d="M1 10h3.5V6H1zm5.2 4h3.6V2H6.2zM11.5 11H15V5h-3.5z" fill="currentColor" />
          </svg>
          Minari
        </a>
        {route.page !== "catalog" && route.page !== "unknown" && <i aria-hidden="true">/</i>}
        <Crumbs route={route} />
      </nav>
      <button
        type="button"
        class="quiet square"
        onClick={next}
        aria-label={`Colors: ${THEME_NAMES[theme]}`}
        title={`Colors: ${THEME_NAMES[theme]}`}
        data-testid="theme"
      >
        <Icon name={theme} />
      </button>
      <button type="button" class="quiet square" onClick={onHelp} aria-label="Keys" title="Keys (?)" data-testid="help">
        ?
      </button>
    </header>
  );
}
