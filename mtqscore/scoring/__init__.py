"""Windows of audio to scores: sessions, batches, processes and clusters."""
