"""Tables of docs/performance.md from the JSON of the last runs; the words stay."""

import re
from pathlib import Path

from suites.report import draw, load, markdown, summary

__all__ = ["write"]

MARK = re.compile(r"(<!-- (\w+) (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def write(docs: Path) -> list[Path]:
    """Puts the tables in their places, `<!-- cpu sampling -->` … `<!-- end -->`; draws plots."""
    found = {path.stem: load(path) for path in sorted((docs / "performance").glob("*.json"))}

    def table(match: re.Match[str]) -> str:
        environment, suites = found.get(match[2], ({}, {}))
        if match[3] == "environment":
            content = ", ".join(f"{name} {value}" for name, value in environment.items())
        elif match[3].replace("summary", "sampling") not in suites:
            content = "Not measured yet."
        elif match[3] == "summary":
            content = summary(suites["sampling"])
        else:
            content = markdown(match[3], suites[match[3]])
        return f"{match[1]}{content}\n{match[4]}"

    page = docs / "performance.md"
    page.write_text(MARK.sub(table, page.read_text()))
    return [page, *draw(found["cpu"][1], docs / "performance")]
