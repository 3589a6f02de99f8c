// Makes one file of a plugin and the SDK, and writes down what it imports and exports: `node sdk/bundle.mjs src/filter.js`.
// build/plugin.js is the bundle, build/wit the world that fits it, for componentize-qjs. TypeScript is taken as well.

import { cpSync, rmSync, writeFileSync } from "node:fs";
import { build } from "esbuild";

const OUT = "build/plugin.js";
const host = {
  name: "collector",
  // Without side effects, an import that nothing uses is left out, and needs no grant.
  setup: (build) => build.onResolve({ filter: /^sluice:/ }, ({ path }) => ({ path, external: true, sideEffects: false })),
};

const { metafile } = await build({
  entryPoints: [process.argv[2]],
  bundle: true,
  format: "esm",
  target: "es2022",
  outfile: OUT,
  metafile: true,
  plugins: [host],
  logLevel: "warning",
}).catch(() => process.exit(1));

const { imports, exports } = metafile.outputs[OUT];
if (!exports.includes("stage")) {
  console.error(`${process.argv[2]} exports no \`stage\`: end it with \`export const { stage } = component(YourPlugin);\``);
  process.exit(1);
}
const lines = [
  ...new Set(imports.map(({ path }) => `  import ${path};`)),
  ...exports.filter((name) => ["stage", "timer", "state"].includes(name)).map((name) => `  export sluice:plugin/${name}@0.1.0;`),
];
rmSync("build/wit", { recursive: true, force: true });
cpSync("sdk/wit", "build/wit/deps/sluice-plugin", { recursive: true });
writeFileSync("build/wit/plugin.wit", `package project:wit;\n\nworld plugin {\n${lines.sort().join("\n")}\n}\n`);
