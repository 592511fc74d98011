"""S-MOS, N-MOS and G-MOS labels of recordings with a clean reference."""
