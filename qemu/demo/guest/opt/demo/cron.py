"""The cron worker: calls the backend every ten seconds, as a scheduler would."""

import time
from urllib.request import Request, urlopen

from settings import secrets

URL = "http://127.0.0.1:8102/api/v1/cron"
INTERVAL = 10

request = Request(URL, method="POST", headers={"authorization": f"Bearer {secrets()['CRON_SECRET']}"})
while True:
    try:
        urlopen(request, timeout=INTERVAL).read()
    except OSError as error:
        print(f"not accepted: {error}")
    time.sleep(INTERVAL)
