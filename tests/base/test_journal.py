"""Work that is kept line by line."""

import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtqscore.base.journal import Journal

VALUES = st.dictionaries(st.text(string.printable + "ü\ud800\u2028", max_size=5), st.lists(st.floats(0, 1)), max_size=5)


def kept(path, values, fingerprint="a"):
    with Journal(path, fingerprint) as journal:
        for key, value in values.items():
            journal.add(key, value)
    return dict(Journal(path, fingerprint))


@settings(derandomize=True, max_examples=50, deadline=None)
@given(first=VALUES, second=VALUES, share=st.floats(0, 1))
def test_a_file_that_was_cut_anywhere_gives_what_was_whole_and_goes_on(tmp_path_factory, first, second, share):
    path = tmp_path_factory.mktemp("journal") / "new folder" / "done.jsonl"
    assert kept(path, first) == first
    content = path.read_bytes() if first else b""
    if first:
        path.write_bytes(content[: round(share * len(content))])
    left = dict(Journal(path, "a"))
    assert list(left.items()) == list(first.items())[: len(left)]
    assert kept(path, second) == left | second


def test_another_fingerprint_begins_anew(tmp_path):
    path = tmp_path / "done.jsonl"
    kept(path, {"k": 1})
    assert dict(Journal(path, "b")) == {}
    assert dict(Journal(path, "a")) == {"k": 1}, "nothing is lost before something is added"
    assert kept(path, {"l": 2}, "b") == {"l": 2}
    assert dict(Journal(path, "a")) == {}


def test_lines_of_others_and_a_deleted_file_do_no_harm(tmp_path):
    path = tmp_path / "done.jsonl"
    with Journal(path, "a") as journal:
        journal.add("k", 1)
        path.write_text(path.read_text() + '[1]\nnull\n{"key": "half"}\n' + "[" * 100_000 + "\n")
        journal.add("k", 2)
        assert dict(Journal(path, "a")) == {"k": 2}
        journal.delete()
        assert not path.exists()
        journal.add("l", 3)
    assert dict(Journal(path, "a")) == {"l": 3}


def test_a_place_that_cannot_be_written_is_an_os_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError):
        Journal(tmp_path / "file" / "done.jsonl", "a").open()
