"""Installed packages, read from their metadata without importing any."""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import re
import shlex
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from mtqscore.base.version import VERSION
from mtqscore.diagnostics.doctor.facts import Fact, Mark
from mtqscore.diagnostics.doctor.probes import Answer

NEEDED = ("numpy", "soundfile", "soxr", "typer", "rich")
"""Without these nothing is scored; the others serve single commands."""


@dataclass(frozen=True)
class Requirement:
    """A package that mtqscore asks for: allowed versions (empty is any), and the extra that brings it, if one does."""

    name: str
    versions: str = ""
    extra: str = ""

    def allows(self, version: str) -> bool:
        """True if a version will do, be it a preview or a local build."""
        if not self.versions:
            return True
        from packaging.specifiers import SpecifierSet  # here: the doctor starts without any library
        from packaging.version import InvalidVersion

        try:
            return SpecifierSet(self.versions).contains(version, prereleases=True)
        except InvalidVersion:
            return False


def python_facts() -> list[Fact]:
    """Describe Python, its place, and mtqscore."""
    place = "in a virtual environment" if sys.prefix != sys.base_prefix else "not in a virtual environment"
    own = f"{VERSION}, {Path(__file__).parent.parent}"
    found = installed("mtqscore")
    if found is None:
        own += ", not installed as a package"
    elif found != VERSION:
        own += f", while the installed package is {found}"
    facts = [
        Fact("python", f"{platform.python_version()} ({platform.python_implementation()}), {sys.executable}, {place}"),
        Fact("platform", f"{platform.platform()}, {platform.machine()}"),
        Fact("mtqscore", own, Mark.OK if found == VERSION else Mark.NOTE),
    ]
    if os.environ.get("PYTHONPATH"):  # what lies there comes before what is installed
        facts.append(Fact("PYTHONPATH", os.environ["PYTHONPATH"], Mark.NOTE))
    return facts


def package_facts(answers: Mapping[str, Answer]) -> list[Fact]:
    """The base packages: there, new enough, and for those with native code, working."""
    wanted = [item for item in requirements() if not item.extra and not item.name.startswith("onnxruntime")]
    if not wanted:
        wanted = [Requirement(name) for name in NEEDED]
    return [_package_fact(item, answers.get(item.name)) for item in wanted]


def training_facts() -> list[Fact]:
    """Describe torch and torchaudio, and if they belong together."""
    wanted = {item.name: item for item in requirements() if item.extra == "train"}
    found = {name: installed(name) for name in ("torch", "torchaudio")}
    fix = pip("install", "mtqscore[train]")
    if not any(found.values()):
        return [Fact("torch", "not installed; only simulation and training need it", Mark.NOTE, fix)]
    facts = []
    for name, version in found.items():
        if version is None:
            facts.append(Fact(name, "not installed", Mark.NOTE, fix))
        elif name in wanted and not wanted[name].allows(version):
            facts.append(Fact(name, f"{version}, but {wanted[name].versions} works here", Mark.NOTE, fix))
        else:
            facts.append(Fact(name, version))
    builds = {version.partition("+")[2] for version in found.values() if version and "+" in version}
    if len(builds) > 1:
        facts.append(
            Fact("builds", f"torch and torchaudio are built for {' and '.join(sorted(builds))}", Mark.NOTE, fix)
        )
    missing = sorted(name for name in wanted if name not in found and installed(name) is None)
    if missing:
        facts.append(Fact("others", f"not installed: {', '.join(missing)}", Mark.NOTE, fix))
    return facts


def runtime_facts(answer: Answer) -> list[Fact]:
    """Find the distributions that own onnxruntime, and if it loads."""
    owners = _onnxruntime_owners()
    right, versions = _right_onnxruntime()
    fix = reinstall_onnxruntime()
    facts = []
    if len(owners) > 1:
        other = next((name for name in owners if name not in ("onnxruntime", right)), f"{right}{versions}")
        fix = f"{pip('uninstall', '-y', *owners)} && {pip('install', other)}"
        names = " and ".join(f"{name} {version}" for name, version in owners.items())
        facts.append(Fact("package", f"{names} overwrite each other's files", Mark.FAIL, fix))
    elif not owners:
        facts.append(Fact("package", "none that is known owns onnxruntime", Mark.NOTE, fix))
    for name, version in owners.items() if len(owners) == 1 else ():
        if Requirement(name, versions).allows(version):
            facts.append(Fact("package", f"{name} {version}"))
        else:
            upgrade = pip("install", f"{name}{versions}")
            facts.append(Fact("package", f"{name} {version}, but {versions} is wanted", Mark.NOTE, upgrade))
    if answer.error:
        note = answer.explained
        return [*facts, Fact("library", answer.error, Mark.NOTE if note else Mark.FAIL, "" if note else fix)]
    cuda = answer.values["cuda"]
    built = f"built for CUDA {cuda}" if cuda else "built without CUDA"
    return [*facts, Fact("library", f"{answer.values['version']}, {built}, {answer.values['folder']}")]


def requirements() -> list[Requirement]:
    """Requirements of mtqscore on this platform by its metadata; none when it is not installed."""
    try:
        from packaging.requirements import Requirement as Parsed

        own = metadata.metadata("mtqscore")
    except (ImportError, metadata.PackageNotFoundError):
        return []
    extras = ["", *(own.get_all("Provides-Extra") or [])]
    found = []
    for line in own.get_all("Requires-Dist") or []:
        with suppress(ValueError):
            item = Parsed(line)
            brought = [extra for extra in extras if item.marker is None or item.marker.evaluate({"extra": extra})]
            if brought:
                found.append(Requirement(_normal(item.name), str(item.specifier), brought[0]))
    return found


def installed(name: str) -> str | None:
    """Version of an installed distribution; None when there is none, or its metadata is damaged."""
    try:
        return metadata.version(name) or None
    except (metadata.PackageNotFoundError, OSError, ValueError, KeyError, TypeError):
        return None


def distributions(prefixes: tuple[str, ...]) -> list[tuple[str, metadata.Distribution]]:
    """List installed distributions whose names begin so; those whose metadata is damaged are passed over."""
    found = []
    for item in metadata.distributions():
        with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
            name = _normal(item.metadata["Name"])
            if name.startswith(prefixes) and item.version:
                found.append((name, item))
    return sorted(found, key=lambda pair: pair[0])


def pip(*words: str) -> str:
    """Command line that calls pip for this very Python; uv where there is no pip."""
    python = shlex.quote(sys.executable or "python")
    if importlib.util.find_spec("pip") is not None:
        return f"{python} -m pip {shlex.join(words)}"
    return shlex.join(
        ["uv", "pip", words[0], "--python", sys.executable, *(word for word in words[1:] if word != "-y")]
    )


def reinstall() -> str:
    """Command line that puts mtqscore's own files back, from where they came."""
    try:
        origin = json.loads(metadata.distribution("mtqscore").read_text("direct_url.json") or "{}")
        address = urlsplit(str(origin["url"]))
        place = url2pathname(address.path) if address.scheme == "file" else str(origin["url"])
    except (metadata.PackageNotFoundError, OSError, ValueError, KeyError, TypeError):
        place = "mtqscore"
    return pip("install", "--force-reinstall", "--no-deps", place)


def reinstall_onnxruntime() -> str:
    """Command line that puts the right onnxruntime back."""
    return pip("install", "--force-reinstall", "".join(_right_onnxruntime()))


def _package_fact(wanted: Requirement, answer: Answer | None) -> Fact:
    version = installed(wanted.name)
    mark = Mark.FAIL if wanted.name in NEEDED else Mark.NOTE
    if answer is not None and answer.explained and version is not None:
        return Fact(wanted.name, f"{version}, {answer.error}", Mark.NOTE)
    if answer is not None and answer.error:
        broken = "not installed" if version is None else f"{version}, but {answer.error}"
        return Fact(wanted.name, broken, mark, pip("install", "--force-reinstall", f"{wanted.name}{wanted.versions}"))
    if version is None and answer is None:
        return Fact(wanted.name, "not installed", mark, pip("install", f"{wanted.name}{wanted.versions}"))
    found = version or str(answer.values["version"] if answer is not None else "")
    if not wanted.allows(found):
        fix = pip("install", f"{wanted.name}{wanted.versions}")
        return Fact(wanted.name, f"{found}, but {wanted.versions} is wanted", Mark.NOTE, fix)
    return Fact(wanted.name, found)


def _onnxruntime_owners() -> dict[str, str]:
    """Distributions that hold the module onnxruntime, with their versions."""
    owners = {}
    for name, item in distributions(("onnxruntime", "ort-")):
        files = item.files
        if files is None or any(file.parts[:2] == ("onnxruntime", "__init__.py") for file in files):
            owners[name] = item.version
    return dict(sorted(owners.items()))


def _right_onnxruntime() -> tuple[str, str]:
    """The one distribution that mtqscore asks for on this platform, and the versions that it allows."""
    wanted = [item for item in requirements() if not item.extra and item.name.startswith("onnxruntime")]
    return (wanted[0].name, wanted[0].versions) if wanted else ("onnxruntime", "")


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
