"""Commands that examine an installation: doctor, selftest, models."""
