"""Patterns of names: what they match, and that no name makes them slow."""

from __future__ import annotations

import pytest

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
        ("**", None, False),
    ],
)
def test_patterns(pattern: str, path: str | None, expected: bool) -> None:
    assert matches(pattern, path) is expected


@pytest.mark.parametrize("name", ["a" * 4_000, "a/" * 2_000 + "x"])
@pytest.mark.parametrize("pattern", ["*a*a*a*a*a*a*a*b", "**/a/**/a/**/a/**/a/**/b", "a*/**/a*a/**/*a*b"])
def test_long_names_are_judged_quickly(name: str, pattern: str) -> None:
    assert not matches(pattern, name)  # without care, this would outlast the patience of anybody
