#!/usr/bin/env python3
"""Writes what the SDKs for C, Zig and AssemblyScript have from the contract: `python3 sdk/c/generate.py`.

From wit/columns.md the constants of the columns (for all three), from wit/*.wit the C bindings. Commit what it writes.
`--check` writes nothing and exits 1 if a file is not current. `--columns` leaves the bindings alone, and with `--check` only
looks for calls that they lack. They need `cargo install wit-bindgen-cli --version 0.63.0 --locked`; another place than the PATH
goes into WIT_BINDGEN.
"""

import os
import pathlib
import re
import subprocess
import sys
import tempfile

SDK = pathlib.Path(__file__).resolve().parent.parent
WIT = SDK.parent / "wit"
GENERATOR = "0.63.0"

# The exports of the world `stateful` that `plugin` lacks, as a world to be linked beside it.
KEEPS_STATE = """package sluice:sdk;
world keeps-state {
  export sluice:plugin/timer@0.1.0;
  export sluice:plugin/state@0.1.0;
}
"""

EDIT_NOT = "Generated from wit/columns.md by sdk/c/generate.py: do not edit."


def columns():
    """Rows of the table as (number, name, width, sentence)."""
    row = re.compile(r"\| (\d+) \| `(\w+)` \| (\w+) \| (.*?) \| (.*) \|$")
    for line in (WIT / "columns.md").read_text().splitlines():
        if found := row.match(line):
            number, name, width, unit, meaning = found.groups()
            yield int(number), name, width, f"{meaning} Unit: {unit.strip()}." if unit.strip() else meaning


def c_columns():
    lines = [
        f"/* {EDIT_NOT} */",
        "#ifndef SLUICE_COLUMNS_H",
        "#define SLUICE_COLUMNS_H",
        "",
        "#include <stddef.h>",
        "#include <stdint.h>",
        "",
        "/* Numbers of the columns, and what they hold a row. An address is two columns of u64. */",
        "enum {",
    ]
    for number, name, width, meaning in columns():
        lines += [f"    /* {width}: {meaning} */", f"    SLUICE_{name.upper()} = {number},"]
    lines += [
        "};",
        "",
        "/* The name of a column, NULL for a number that is not in the table. */",
        "static inline const char *sluice_column_name(uint16_t column) {",
        "    switch (column) {",
    ]
    lines += [f'    case {number}: return "{name}";' for number, name, _, _ in columns()]
    lines += ["    default: return NULL;", "    }", "}", "", "#endif", ""]
    return "\n".join(lines)


def zig_columns():
    types = {"text": "Texts", "lists": "Lists"}
    lines = [
        f"//! The columns: `read(columns.dst_port)` is a `[]u16`. {EDIT_NOT}",
        "",
        'const sluice = @import("sluice.zig");',
        "const Column = sluice.Column;",
        "const Texts = sluice.Texts;",
        "const Lists = sluice.Lists;",
        "",
    ]
    for number, name, width, meaning in columns():
        lines += [f"/// {meaning}", f"pub const {name}: Column({types.get(width, width)}) = .{{ .number = {number} }};"]
    lines += ["", "/// The name of a column, null for a number that is not in the table."]
    lines += ["pub fn name(number: u16) ?[]const u8 {", "    return switch (number) {"]
    lines += [f'        {number} => "{name}",' for number, name, _, _ in columns()]
    lines += ["        else => null,", "    };", "}", ""]
    return "\n".join(lines)


def assemblyscript_columns():
    lines = [f"// Numbers of the columns, and what they hold a row. {EDIT_NOT}", ""]
    for number, name, width, meaning in columns():
        lines += [f"/** {width}: {meaning} */", f"export const {name.upper()}: u16 = {number};"]
    lines += ["", "/** The name of a column; empty for a number that is not in the table. */"]
    lines += ["export function columnName(column: u16): string {", "  switch (column) {"]
    lines += [f'    case {number}: return "{name}";' for number, name, _, _ in columns()]
    lines += ['    default: return "";', "  }", "}", ""]
    return "\n".join(lines)


def bindings():
    """The files of wit-bindgen, by name."""
    tool = os.environ.get("WIT_BINDGEN", "wit-bindgen")
    version = subprocess.run([tool, "--version"], check=True, capture_output=True, text=True).stdout.split()[1]
    if version != GENERATOR:
        sys.exit(f"generate.py: {tool} is {version}, the bindings are made with {GENERATOR}")
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        deps = folder / "wit" / "deps" / "plugin"
        deps.mkdir(parents=True)
        (folder / "wit" / "world.wit").write_text(KEEPS_STATE)
        for file in WIT.glob("*.wit"):
            (deps / file.name).write_bytes(file.read_bytes())
        for wit, world in ((WIT, "plugin"), (folder / "wit", "keeps-state")):
            command = [tool, "c", wit, "-w", world, "--autodrop-borrows", "yes", "--out-dir", folder / "out"]
            subprocess.run(command, check=True, capture_output=True)
        return {file.name: file.read_bytes() for file in (folder / "out").iterdir()}


def stale_calls():
    """Calls of the contract that the bindings lack or describe otherwise: to be seen without wit-bindgen."""
    headers = "".join((SDK / "c/sluice" / name).read_text() for name in ("plugin.h", "keeps_state.h"))
    for file in sorted(WIT.glob("*.wit")):
        docs = []
        for line in map(str.strip, file.read_text().splitlines()):
            if line.startswith("///"):
                docs.append(line[1:])
                continue
            # What a plugin exports comes without its words.
            words = "" if file.name == "stage.wit" else "\n".join(docs)
            call = re.match(r"([a-z0-9-]+): (?:static )?func\b", line)
            if call and (f"_{call[1].replace('-', '_')}(" not in headers or words not in headers):
                yield call[1]
            docs = []


def main():
    files = {
        SDK / "c/sluice/columns.h": c_columns().encode(),
        SDK / "zig/sluice/columns.zig": zig_columns().encode(),
        SDK / "assemblyscript/sluice/columns.ts": assemblyscript_columns().encode(),
    }
    if "--columns" not in sys.argv:
        files |= {SDK / "c/sluice" / name: content for name, content in bindings().items()}
    elif "--check" in sys.argv and (calls := list(stale_calls())):
        sys.exit(f"generate.py: not as wit/ has it in the C bindings: {', '.join(calls)}; python3 sdk/c/generate.py writes them")
    stale = [path for path, content in files.items() if not path.exists() or path.read_bytes() != content]
    for path in stale:
        if "--check" in sys.argv:
            print(f"generate.py: {path.relative_to(SDK.parent)} is not current", file=sys.stderr)
        else:
            path.write_bytes(files[path])
    return 1 if stale and "--check" in sys.argv else 0


if __name__ == "__main__":
    sys.exit(main())
