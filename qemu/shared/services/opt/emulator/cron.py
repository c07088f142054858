"""The cron worker: calls the backend every ten seconds, as a scheduler would, and at once when its secret is new."""

import signal
from urllib.request import Request, urlopen

from settings import port, secrets

URL = f"http://127.0.0.1:{port('02')}/api/v1/cron"
INTERVAL, AFTER_FAILURE = 10, 1


def call():
    """Whether the backend has accepted a call with the secret of now."""
    headers = {"authorization": f"Bearer {secrets()['CRON_SECRET']}"}
    try:
        urlopen(Request(URL, method="POST", headers=headers), timeout=INTERVAL).read()
        return True
    except OSError as error:
        print(f"not accepted: {error}")
        return False


NEW_SECRETS = {signal.SIGHUP}
signal.pthread_sigmask(signal.SIG_BLOCK, NEW_SECRETS)  # it stays pending until sigtimedwait
while True:
    signal.sigtimedwait(NEW_SECRETS, INTERVAL if call() else AFTER_FAILURE)
