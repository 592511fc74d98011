"""Text for people, and the heads of JSON documents."""

import doctest
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtqscore.base import names, schema_versions, text
from mtqscore.base.names import as_text, from_text
from mtqscore.base.schema_versions import document


@pytest.mark.parametrize("module", [names, text])
def test_the_examples_of_docstrings_hold(module):
    failed, attempted = doctest.testmod(module)
    assert attempted > 0
    assert failed == 0


def test_every_schema_has_a_number_of_its_own_document():
    found = [value for name, value in vars(schema_versions).items() if name.isupper() and name != "VERSION"]
    assert len(found) == len(set(found))
    assert all(re.fullmatch(r"mtqscore\.[a-z]+/[1-9]", value) for value in found)
    assert list(document(found[0], {"a": 1}, version="2").items()) == [
        ("schema", found[0]),
        ("mtqscore", "2"),
        ("a", 1),
    ]
    assert document(found[0], {}, version=None) == {"schema": found[0]}


NAMES = st.lists(st.sampled_from(["\\", "u", "dcff", "\udcff", "005c", "0000", "\0", "x", "\ud800"]), max_size=6)


@given(parts=NAMES, others=NAMES)
@settings(derandomize=True, max_examples=50)
def test_any_name_is_text_and_comes_back_and_two_names_never_become_one(parts, others):
    name, other = "".join(parts), "".join(others)
    as_text(name).encode("utf-8")
    assert "\0" not in as_text(name)
    assert from_text(as_text(name)) == name
    assert (as_text(name) == as_text(other)) is (name == other)
