// Builds the page into minari/viewer/static: the same sources and lock file give the same bytes.
import { copyFile, mkdir, readFile, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import * as esbuild from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const outdir = join(here, "..", "minari", "viewer", "static");

/** Packages whose code is in viewer.js or viewer.css. */
const BUNDLED = ["preact", "uplot"];

const options = {
  absWorkingDir: here,
  entryPoints: { viewer: "src/main.tsx" },
  outdir,
  bundle: true,
  minify: true,
  format: "esm",
  target: ["es2022"],
  charset: "utf8",
  legalComments: "none",
  jsx: "automatic",
  jsxImportSource: "preact",
  logLevel: "info",
};

async function licenses() {
  const parts = [];
  for (const name of BUNDLED) {
    const folder = join(here, "node_modules", name);
    const { version, license, homepage } = JSON.parse(await readFile(join(folder, "package.json"), "utf8"));
    const text = (await readFile(join(folder, "LICENSE"), "utf8")).replaceAll("\r\n", "\n").trim();
    parts.push(`${[name, version, license, homepage].filter(Boolean).join(" · ")}\n\n${text}\n`);
  }
  return `viewer.js and viewer.css contain these packages.\n\n${parts.join(`\n${"-".repeat(80)}\n\n`)}`;
}

await mkdir(outdir, { recursive: true });
await copyFile(join(here, "src", "index.html"), join(outdir, "index.html"));
await writeFile(join(outdir, "LICENSES.txt"), await licenses());
if (process.argv.includes("--watch")) {
  const context = await esbuild.context(options);
  await context.watch();
} else {
  await esbuild.build(options);
}
