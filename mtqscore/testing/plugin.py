"""The pytest plugin: a fixture ``assert_quality`` whose model is loaded once a session, when it is first used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from mtqscore.scores import Assessment
    from mtqscore.scoring.assessor import Assessor


class AssertQuality(Protocol):
    """Signature of the fixture."""

    def __call__(
        self,
        audio: Any,
        sample_rate_hz: int | None = None,
        *,
        s: float | None = None,
        n: float | None = None,
        g: float | None = None,
    ) -> Assessment:
        """See ``mtqscore.assert_quality``."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the choice of the model."""
    text = "model of the fixture assert_quality: a bundled name, or the path of an ONNX file"
    parser.getgroup("mtqscore").addoption("--mtqscore-model", metavar="NAME|FILE.onnx", help=text)
    parser.addini("mtqscore_model", f"{text}, relative to this file")


@pytest.fixture(scope="session")
def mtqscore_assessor(pytestconfig: pytest.Config) -> Assessor:
    """The assessor of the session, with the model that was chosen."""
    from mtqscore.config import AssessConfig
    from mtqscore.errors import MtqscoreError
    from mtqscore.models import is_path
    from mtqscore.scoring.assessor import Assessor

    model = pytestconfig.getoption("--mtqscore-model")
    if model is None and (named := pytestconfig.getini("mtqscore_model")):
        beside = (pytestconfig.inipath or pytestconfig.rootpath / "pytest.ini").parent / named
        model = str(beside) if is_path(named) else named
    try:
        return Assessor(AssessConfig(model=model))
    except MtqscoreError as error:
        pytest.fail(f"mtqscore: {error}", pytrace=False)


@pytest.fixture
def assert_quality(mtqscore_assessor: Assessor, record_property: Callable[[str, object], None]) -> AssertQuality:
    """Assert that a recording reaches scores, as ``mtqscore.assert_quality``; they become properties of the test."""
    from mtqscore.targets import DECIMALS
    from mtqscore.testing.quality import assess, demand, read_limits

    def check(
        audio: Any,
        sample_rate_hz: int | None = None,
        *,
        s: float | None = None,
        n: float | None = None,
        g: float | None = None,
    ) -> Assessment:
        __tracebackhide__ = True
        limits = read_limits(s=s, n=n, g=g)
        assessed = assess(audio, sample_rate_hz, mtqscore_assessor)
        if assessed.assessment.scores is not None:
            record_property("recording", assessed.name)
            for name in ("s_mos", "n_mos", "g_mos"):
                record_property(name, round(getattr(assessed.assessment.scores, name), DECIMALS))
        demand(assessed, limits)
        return assessed.assessment

    return check
