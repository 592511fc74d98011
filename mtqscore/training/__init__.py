"""Networks, data, training, distillation, pruning and export; needs the ``train`` extra."""

from __future__ import annotations

import os

# oneDNN keeps what it prepared for the last 1,024 kinds of call. Batches are of many lengths, each a kind of its own,
# so gigabytes pile up that are hardly ever used again. It reads this once, so before torch is loaded.
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "128")
