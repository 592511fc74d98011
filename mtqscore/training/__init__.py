"""Ring 2b: networks, data, training and export; needs the ``train`` extra."""
