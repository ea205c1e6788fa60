// Bundles the unit tests and runs them with the test runner of Node.
import { spawnSync } from "node:child_process";
import { readdirSync, rmSync } from "node:fs";
import * as esbuild from "esbuild";

const outdir = "node_modules/.cache/tests";
rmSync(outdir, { recursive: true, force: true });
const entryPoints = readdirSync("tests").map((name) => `tests/${name}`);
await esbuild.build({
  entryPoints,
  outdir,
  bundle: true,
  platform: "node",
  format: "esm",
  outExtension: { ".js": ".mjs" },
});
const tests = readdirSync(outdir).map((name) => `${outdir}/${name}`);
process.exit(spawnSync(process.execPath, ["--test", ...tests], { stdio: "inherit" }).status ?? 1);
