"""Models by name, path or Hub reference, and their checked bytes."""

from mtqscore.models.entry import Accuracy, ModelEntry
from mtqscore.models.metadata import LARGEST_MODEL_BYTES, ModelInfo, parse_metadata
from mtqscore.models.reference import HubReference, parse_reference
from mtqscore.models.registry import find_registered, read_own_registry, read_registry
from mtqscore.models.store import (
    ModelFile,
    cached_models,
    fetch_model,
    find_model,
    installed_models,
    is_path,
    load_model,
    remove_model,
    verify_model,
)

__all__ = [
    "LARGEST_MODEL_BYTES",
    "Accuracy",
    "HubReference",
    "ModelEntry",
    "ModelFile",
    "ModelInfo",
    "cached_models",
    "fetch_model",
    "find_model",
    "find_registered",
    "installed_models",
    "is_path",
    "load_model",
    "parse_metadata",
    "parse_reference",
    "read_own_registry",
    "read_registry",
    "remove_model",
    "verify_model",
]
