"""Words that are not used; docs/glossary.md says what to write instead."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# in prose and in names; each with what is allowed, if anything
WORDS = {
    r"\banew\b": "again",
    r"\bin vain\b": "rejected",
    r"\bprevails?\b": "takes precedence",
    r"\bmended\b|\bmends\b": "fixed",
    r"\bby heart\b": "overfitted",
    r"\bbeliev(e|es|ed)\b": "trust",
    r"\bcomes? along\b": "is packaged",
    r"\bwalk_in\b|\bWalk\b": "schedule, pass",
    r"\binitialise\(|\brandomise\(|\bassert_normalised\b": "the spelling of the ecosystem",
    r"\.survivors\b|\.spread\b": "unique_particles, log_known_stderr",
    r"(?<!grad_)(?<!enable_)\bcheckpointing=": "grad_checkpointing",
}
EXEMPT = {"tests/test_words.py", "CHANGELOG.md", "docs/glossary.md"}


def prose() -> list[Path]:
    """Returns the code and documents that are under version control."""
    listed = subprocess.run(
        ["git", "ls-files", "*.py", "*.md"], cwd=ROOT, capture_output=True, text=True
    )
    if listed.returncode:
        pytest.skip("the files are not in a git repository here")
    names = listed.stdout.split()
    return [
        ROOT / name for name in names if name not in EXEMPT and not name.startswith("findings/")
    ]


@pytest.mark.parametrize("word", WORDS)
def test_a_word_is_not_used(word: str) -> None:
    used = [
        f"{file.relative_to(ROOT)}:{number}: {line.strip()}"
        for file in prose()
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1)
        if re.search(word, line)
    ]
    assert not used, f"write {WORDS[word]} instead:\n" + "\n".join(used)
