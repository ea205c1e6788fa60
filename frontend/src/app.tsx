/** The frame of the page, and the page of the present place in it. */

import { useEffect, useState } from "preact/hooks";
import { Header } from "./shell/header";
import { Help } from "./shell/help";
import { Empty } from "./components/states";
import { Toasts } from "./shell/toasts";
import { useKeys } from "./keys";
import { CatalogPage } from "./pages/catalog";
import { ComparePage } from "./pages/compare";
import { DatasetPage } from "./pages/dataset";
import { EpisodePage } from "./pages/episode";
import type { Route } from "./router";
import { links, useRoute } from "./router";
import { useTheme } from "./theme";

function titleOf(route: Route): string {
  if (route.page === "dataset") return `${route.id} · Minari`;
  if (route.page === "episode") return `Episode ${route.n} · ${route.id}`;
  if (route.page === "compare") return `${route.a} and ${route.b} · Minari`;
  return "Minari";
}

function Page({ route }: { route: Route }) {
  switch (route.page) {
    case "catalog":
      return <CatalogPage />;
    case "dataset":
      return <DatasetPage key={route.id} route={route} />;
    case "episode":
      return <EpisodePage key={route.id} route={route} />;
    case "compare":
      return <ComparePage key={`${route.a}\n${route.b}`} route={route} />;
    case "unknown":
      return (
        <Empty title="There is nothing at this address" testid="unknown">
          <p>
            <a href={links.catalog()}>All datasets</a>
          </p>
        </Empty>
      );
  }
}

export function App() {
  const route = useRoute();
  const [help, setHelp] = useState(false);
  const { next } = useTheme();
  useKeys("Everywhere", [
    { keys: ["?"], shown: "?", does: "show the keys", run: () => setHelp(true) },
    { keys: ["t"], shown: "t", does: "light, dark, or as the system", run: next },
    { keys: ["g"], shown: "g", does: "all datasets", run: () => (location.hash = links.catalog()) },
  ]);
  useEffect(() => {
    document.title = titleOf(route);
  }, [route]);
  const place =
    route.page === "episode"
      ? `${route.page} ${route.id}`
      : JSON.stringify([route.page, "id" in route ? route.id : ""]);
  useEffect(() => scrollTo(0, 0), [place]);
  return (
    <>
      <Header route={route} onHelp={() => setHelp(true)} />
      <main class={route.page}>
        <Page route={route} />
      </main>
      <Toasts />
      {help && <Help onClose={() => setHelp(false)} />}
    </>
  );
}
