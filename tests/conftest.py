"""What no test may depend on: how busy the machine is, and how the shell started the tests."""

import signal

from hypothesis import settings

settings.register_profile("hwsearch", deadline=None)  # how long an example takes says how busy
settings.load_profile("hwsearch")

# A script's `make test &` starts with Ctrl-C ignored, and so would all that the tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)
