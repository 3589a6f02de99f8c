"""Writes lib/sluice/columns.py from wit/columns.md: `python3 sdk/python/generate.py`.

With `--check` it only says whether the file is current.
"""

import re
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
SOURCE = HERE.parent.parent / "wit" / "columns.md"
TARGET = HERE / "lib" / "sluice" / "columns.py"
WIDTHS = {"u8": 1, "u16": 2, "u32": 4, "u64": 8}

HEAD = '''"""The standard columns. Generated from wit/columns.md by sdk/python/generate.py: do not edit.

Unsigned numbers with their bytes a row, texts, lists, and addresses, which are two columns (`src_addr.hi`, `src_addr.lo`).
"""

from .expression import Address, Column, Lists, Number, Text

'''

TAIL = '''
BY_NAME: dict[str, Column] = {
    item.name: item for item in list(globals().values()) if isinstance(item, Column)
}
"""Every column here, by its name."""
'''


def rows(table: str) -> list[tuple[int, str, str, str, str]]:
    """Number, name, width, unit and meaning of each column."""
    found = re.findall(r"^\| (\d+) \| `(\w+)` \| (\w+) \| (.*?) \| (.*?) \|$", table, re.MULTILINE)
    return [(int(number), *rest) for number, *rest in found]


def module(table: str) -> str:
    """The text of columns.py."""
    columns = {name: (number, width, unit, meaning) for number, name, width, unit, meaning in rows(table)}
    lines = []
    for name, (number, width, unit, meaning) in columns.items():
        if name.endswith("_lo") and f"{name[:-3]}_hi" in columns:
            continue
        if name.endswith("_hi") and f"{name[:-3]}_lo" in columns:
            name = name[:-3]
            value = f'Address("{name}", {number}, {columns[f"{name}_lo"][0]})'
            meaning = meaning.replace(", high half", "")
        elif width in WIDTHS:
            value = f'Number("{name}", {number}, {WIDTHS[width]})'
        else:
            value = f'{width.capitalize()}("{name}", {number})'
        unit = f" In {unit}." if unit else ""
        lines.append(f'{name} = {value}\n"""{meaning}{unit}"""\n')
    return HEAD + "".join(lines) + TAIL


def main() -> int:
    text = module(SOURCE.read_text())
    if "--check" in sys.argv:
        return 0 if TARGET.read_text() == text else "lib/sluice/columns.py is not current: run sdk/python/generate.py"
    TARGET.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
