"""Sessions in the documentation show what really comes out; and the tool that sees to it notices when they do not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.docs_sessions import BLOCK, PAGES, agree, play, update

pytestmark = pytest.mark.skipif(os.name != "posix", reason="sessions are run by bash")
WITH_SESSIONS = [page for page in PAGES if BLOCK.search(page.read_text(encoding="utf-8"))]


@pytest.mark.parametrize("page", WITH_SESSIONS, ids=lambda page: page.name)
def test_sessions_show_what_comes_out(page: Path, tmp_path: Path) -> None:
    for block in play(page, tmp_path):
        for step in block:
            shown, came = "\n".join(step.shown), "\n".join(step.came)
            assert step.agrees, f"$ {step.command}\n--- shown\n{shown}\n--- came\n{came}\n"


@pytest.mark.parametrize(
    ("shown", "came", "expected"),
    [
        ("a b", "a b", True),
        ("a b", "a c", False),
        ("a", "a b", False),
        ("a …", "a", True),
        ("a … d", "a b c d", True),
        ("… b … d …", "a b c d", True),
        ("… c b …", "a b c d", False),
        ("a … a", "a", False),
        ("... x", "a b", False),
    ],
)
def test_dots_stand_for_any_lines(shown: str, came: str, expected: bool) -> None:
    assert agree(shown.split(), came.split()) is expected


PAGE = """# A page

```console
$ ls examples | head -2; pwd >here
babble-0db.flac
clean-telephone.wav
$ echo '5.0 s of audio in 1.25 s, 1,234 × real time' >&2
5.0 s of audio in 0.50 s, 3 × real time
$ pwd
/home/me/project
$ exit 3
$ echo $?
3
```

Words.

```console
$ test "$(cat here)" = "$PWD" && echo one \\
    folder
one folder
$ seq 5
1
…
5
```

```
$ not run
```
"""


def test_a_page_that_is_right_stays_as_it_is(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    (tmp_path / "play").mkdir()
    assert [step.agrees for block in play(page, tmp_path / "play") for step in block] == [True] * 7
    assert not update(page)
    assert page.read_text() == PAGE


def test_a_page_that_is_wrong_is_noticed_and_put_right(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE.replace("\n3\n", "\n0\n").replace("\n5\n", "\n6\n").replace("babble", "bubble"))
    (tmp_path / "play").mkdir()
    wrong = [step.command for block in play(page, tmp_path / "play") for step in block if not step.agrees]
    assert wrong == ["ls examples | head -2; pwd >here", "echo $?", "seq 5"]
    assert update(page)
    assert page.read_text() == PAGE
