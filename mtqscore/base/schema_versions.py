"""Schemas of the JSON documents that mtqscore writes, each with its version.

A version is raised when a reader of the document would have to change, not when a key is added.
"""

from __future__ import annotations

from collections.abc import Mapping

from mtqscore.base.version import VERSION

ASSESS = "mtqscore.assess/1"
COMPARE = "mtqscore.compare/1"
EVALUATE = "mtqscore.evaluate/1"
EXPLAIN = "mtqscore.explain/1"
LABEL = "mtqscore.label/1"
SELFTEST = "mtqscore.selftest/1"
DOCTOR = "mtqscore.doctor/1"


def document(schema: str, content: Mapping[str, object], *, version: str | None = VERSION) -> dict[str, object]:
    """Put the schema, and the version of mtqscore that made the content, before the content of a JSON document.

    Args:
        schema: one of those above.
        content: what follows.
        version: None leaves it out.
    """
    head = {"schema": schema} if version is None else {"schema": schema, "mtqscore": version}
    return {**head, **content}
