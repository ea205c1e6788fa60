/** Start of the page: the token leaves the address, and the page is drawn. */

import { render } from "preact";
import { keepToken } from "./data/api";
import { App } from "./app";
import { splitToken } from "./router";
import "uplot/dist/uPlot.min.css";
import "./styles/index.css";
import { applyTheme } from "./theme";

function takeToken(): void {
  const { token, hash } = splitToken(location.hash);
  keepToken(token);
  if (token !== null) history.replaceState(null, "", hash);
}

takeToken();
applyTheme();
addEventListener("hashchange", () => {
  if (splitToken(location.hash).token === null) return;
  takeToken();
  location.reload(); // with the new token, whatever was shown
});
const root = document.getElementById("app");
if (root) render(<App />, root);
