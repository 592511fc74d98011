"""Patterns of names: what they match."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtqscore.base.patterns import matches


@pytest.mark.parametrize(
    ("pattern", "path", "expected"),
    [
        ("clean/**", "/data/clean/a/b.wav", True),
        ("clean/**", "/data/unclean/a.wav", False),
        ("clean/**", "clean", False),
        ("clean/", "x/clean/a/b.wav", True),
        ("*.flac", "x/y.flac", True),
        ("*.flac", "x.flac/y.wav", False),
        ("clean/*", "clean/a/b.wav", False),
        ("a/**/b.wav", "a/b.wav", True),
        ("a/**/b.wav", "x/a/c/d/b.wav", True),
        ("a/**/c/**/d", "a/x/c/y/z/d", True),
        ("a/**/c/**/d", "a/x/y/z/d", False),
        ("**", "a.wav", True),
        ("/data/*", "/data/a.wav", True),
        ("/data/*", "/more/data/a.wav", False),
        ("./clean/*", "clean/a.wav", True),
        ("clean/*", "./clean//a.wav", True),
        ("clean\\*.wav", "C:\\data\\clean\\a.wav", True),
        ("clean/*.wav", "C:\\data\\clean\\a.wav", True),
        ("[!a]?.wav", "b1.wav", True),
        ("[!a]?.wav", "a1.wav", False),
        ("[^a]", "/", False),
        ("[a-c][]x].wav", "b].wav", True),
        ("a[.wav", "a[.wav", True),
        ("take [[]1].wav", "take [1].wav", True),
        ("a.wav", "a_wav", False),
        ("*\n*", "x/new\nline.wav", True),
        ("*.wav", "new\nline\udcff.wav", True),
        ("?.wav", "\udcff.wav", True),
        ("A.wav", "a.wav", False),
        ("*.wav", "../data/a.wav", True),
        ("../data/*", "x/../data/.a.wav", True),
        ("{a,b}.wav", "a.wav", False),
        ("**", None, False),
    ],
)
def test_patterns(pattern: str, path: str | None, expected: bool) -> None:
    assert matches(pattern, path) is expected


@given(st.lists(st.text("ab*?[]!^-.\\{}|~@() ", min_size=1), min_size=1, max_size=4).map("/".join))
@settings(max_examples=50, derandomize=True)
def test_a_pattern_with_every_sign_of_shells_matches_or_does_not(pattern: str) -> None:
    assert matches(pattern, "/".join(["a", "b"] * 20)) in (True, False)


@given(st.lists(st.text("ab.éж ", min_size=1), min_size=2, max_size=5).map("/".join))
@settings(max_examples=50, derandomize=True)
def test_a_name_without_signs_matches_itself_and_its_folder(name: str) -> None:
    assert matches(name, name)
    assert matches(f"{name}/**", f"x/{name}/y.wav")
    assert matches("/**", f"/{name}")
    assert not matches(name, f"{name}z")


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("**/a/**/a/**/a/**/a/**/b", "a/" * 5_000),
        ("/".join(["**", "*"] * 50) + "/b", "a/" * 1_000),
        ("*a*a*a*a*a*a*b", "a" * 5_000),
    ],
)
def test_hostile_patterns_are_matched_at_once(pattern: str, path: str) -> None:
    begin = time.process_time()
    assert not matches(pattern, f"{path}c")
    assert time.process_time() - begin < 2
