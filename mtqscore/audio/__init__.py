"""Files, arrays and remote objects as streams of mono float32 samples."""
