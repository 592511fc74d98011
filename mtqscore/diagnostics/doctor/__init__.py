"""What stands between this machine and a score, found out without ever failing itself; standard library only."""
