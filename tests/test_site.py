"""The site of the documents is built without a network and without a warning."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
FETCHED = re.compile(r'<(?:script|link|img)[^>]+(?:src|href)="(https?:[^"]+)')


def test_the_site_is_built(tmp_path: Path) -> None:
    """With every page, a search index, an API reference, and nothing that is fetched."""
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "-d", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    pages = {file.stem for file in (ROOT / "docs").glob("*.md")} | {"readme"}
    assert pages <= {file.stem for file in tmp_path.glob("*.html")}
    assert (tmp_path / "search" / "search_index.json").is_file()
    sampling = (tmp_path / "reference" / "sampling.html").read_text(encoding="utf-8")
    for text in ('id="pixelar.sampling.completion.complete"', "top_p", "log_known_stderr"):
        assert text in sampling
    for file in tmp_path.rglob("*.html"):
        loaded = re.findall(
            r'<(?:script|link|img)[^>]+(?:src|href)="(https?:[^"]+)', file.read_text()
        )
        assert not [address for address in loaded if "canonical" not in address], file.name
