"""Names of TMHINT-QI's recordings: the making of each, and the others that belong to it."""

from __future__ import annotations

import re
from dataclasses import dataclass

CHALLENGE_PREFIX = "VoiceMOS2023Track3-"
"""In front of every name in TMHINT-QI(S)."""

CLEAN, ORIGINAL, NOISY = "clean", "None", "Noisy"
"""Methods that are no enhancement: clean speech of the test, clean speech of its rehearsal, noisy speech."""

# The SNR may be -2, so that a name must not be split at its hyphens.
_NAME = re.compile(
    r"(?:(?P<method>[A-Za-z0-9-]+)_snr(?P<snr>-?\d+)_(?P<noise>[A-Za-z0-9]+)_|(?P<clean>clean)_)?"
    r"TMHINT_(?P<speaker>[a-z]\d+)_(?P<list>\d+)_(?P<item>\d+)"
)


@dataclass(frozen=True)
class TmhintName:
    """Parsed name of a recording.

    Args:
        method: ``clean``, ``None`` (clean too, from the rehearsal), ``Noisy`` or an enhancement system.
        snr_db: speech-to-noise ratio of the noisy recording; None for clean ones.
        noise: its kind; empty for clean ones.
        speaker: b and a number for men, g and a number for women.
        sentence: number of its list and of the sentence in it, as ``22_02``.
    """

    method: str
    snr_db: int | None
    noise: str
    speaker: str
    sentence: str

    @property
    def is_clean(self) -> bool:
        """True for the clean speech itself."""
        return self.snr_db is None

    @property
    def condition(self) -> str:
        """Method, SNR and noise, as the listening test counts conditions."""
        return self.method if self.is_clean else f"{self.method}-SNR{self.snr_db}-{self.noise}"

    @property
    def clean_stems(self) -> tuple[str, str]:
        """Names that its clean twin may have, without ending."""
        return f"clean_TMHINT_{self.speaker}_{self.sentence}", f"TMHINT_{self.speaker}_{self.sentence}"

    @property
    def noisy_stem(self) -> str:
        """Name of the recording before enhancement, without ending."""
        return f"{NOISY}_snr{self.snr_db}_{self.noise}_TMHINT_{self.speaker}_{self.sentence}"


def parse_name(stem: str) -> TmhintName | None:
    """Read a file name without its ending; None if it is none of TMHINT-QI's.

    Example:
        >>> parse_name("Trans_snr-2_white_TMHINT_b2_29_10").condition
        'Trans-SNR-2-white'
        >>> parse_name("VoiceMOS2023Track3-clean_TMHINT_b2_22_06").noise
        ''
        >>> parse_name("__MACOSX") is None
        True
    """
    found = _NAME.fullmatch(stem.removeprefix(CHALLENGE_PREFIX))
    if found is None:
        return None
    snr = found["snr"]
    return TmhintName(
        method=found["method"] or found["clean"] or ORIGINAL,
        snr_db=None if snr is None else int(snr),
        noise=found["noise"] or "",
        speaker=found["speaker"],
        sentence=f"{found['list']}_{found['item']}",
    )
