"""What holds for every test: no property fails for being slow, since the machines that run them are shared."""

from hypothesis import settings

settings.register_profile("shared", deadline=None)
settings.load_profile("shared")
