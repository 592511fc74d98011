"""Ring 2a: simulated degradations and reference-based labels; installed with the ``[train]`` extra."""
