"""Recordings for stores, and what was said of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.signals import speechlike, write

KEYS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_DEFAULT_REGION": "us-east-1"}
KEYS |= {"AWS_EC2_METADATA_DISABLED": "true", "AWS_MAX_ATTEMPTS": "1"}


def rows(path: Path) -> dict[str, dict[str, Any]]:
    return {row["path"]: row for row in map(json.loads, path.read_bytes().splitlines())}


def put(client: Any, key: str, content: bytes) -> None:
    client.put_object(Bucket="calls", Key=key, Body=content)


def spoken(folder: Path, seed: int = 0, seconds: float = 0.5) -> bytes:
    return write(folder / "made.flac", speechlike(seconds, seed=seed)).read_bytes()
