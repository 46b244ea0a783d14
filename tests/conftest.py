"""What every test starts from."""

import signal

# Started in the background by a shell, Python finds Ctrl-C ignored, and its processes inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
