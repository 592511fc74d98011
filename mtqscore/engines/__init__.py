"""Who scores beside the one process that was started: further processes on this machine, or a cluster."""
