// Writes lib/columns.js and lib/columns.d.ts from wit/columns.md: `node sdk/js/generate.mjs`; with `--check` it only says
// whether they are current.

import { readFileSync, writeFileSync } from "node:fs";

const WIDTHS = { u8: 1, u16: 2, u32: 4, u64: 8 };
const table = readFileSync(new URL("../../wit/columns.md", import.meta.url), "utf8");
const columns = new Map();
for (const [, number, name, width, unit, meaning] of table.matchAll(/^\| (\d+) \| `(\w+)` \| (\w+) \| (.*?) \| (.*?) \|$/gm)) {
  columns.set(name, { number, width, unit: unit && ` In ${unit}.`, meaning });
}

const HEAD = "// The standard columns. Generated from wit/columns.md by sdk/js/generate.mjs: do not edit.\n\n";
let js = `${HEAD}import { Address, ListsColumn, NumberColumn, TextColumn } from "./condition.js";\n\n`;
let types = `${HEAD}import type { Address, ListsColumn, NumberColumn, TextColumn } from "./sluice.js";\n\n`;
for (const [name, { number, width, unit, meaning }] of columns) {
  const [, base, half] = name.match(/^(.*)_(hi|lo)$/) ?? [];
  if (half === "lo") continue;
  const [type, args] = half
    ? ["Address", `"${base}", ${number}, ${columns.get(`${base}_lo`).number}`]
    : width in WIDTHS
      ? ["NumberColumn", `"${name}", ${number}, ${WIDTHS[width]}`]
      : [width === "text" ? "TextColumn" : "ListsColumn", `"${name}", ${number}`];
  js += `export const ${base ?? name} = /* @__PURE__ */ new ${type}(${args});\n`;
  const generic = type === "NumberColumn" ? `<${width === "u64" ? "bigint" : "number"}>` : "";
  types += `/** ${meaning.replace(", high half", "")}${unit} */\nexport declare const ${base ?? name}: ${type}${generic};\n`;
}

let isCurrent = true;
for (const [file, text] of [["columns.js", js], ["columns.d.ts", types]]) {
  const path = new URL(`lib/${file}`, import.meta.url);
  if (process.argv.includes("--check")) isCurrent &&= readFileSync(path, "utf8") === text;
  else writeFileSync(path, text);
}
if (!isCurrent) {
  console.error("lib/columns.* are not current: run sdk/js/generate.mjs");
  process.exit(1);
}
