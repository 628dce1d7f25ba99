#!/usr/bin/env python3
"""What APScheduler 3 does on this machine, with its SQLite job store and a function that does nothing.

    python3 -m venv /tmp/peers && /tmp/peers/bin/pip install 'apscheduler==3.11.*' sqlalchemy
    /tmp/peers/bin/python benches/peers/apscheduler3.py > peers.json
    bellcage bench --peers peers.json

Prints a JSON object of figures by the row of `bellcage bench` that they stand beside: runs per second of jobs that are all due at
once, each run, and its next firing stored (3); jobs added per second, one at a time (4).
"""

import json
import logging
import sys
import tempfile
import threading
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path

from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.jobstores.sqlalchemy import SQLAlchemyJobStore
from apscheduler.schedulers.background import BackgroundScheduler

JOBS = 1_000
ROUNDS = 3

done = threading.Semaphore(0)


def job():
    done.release()


def measure(folder: Path) -> tuple[float, float]:
    store = SQLAlchemyJobStore(url=f"sqlite:///{folder / 'jobs.db'}")
    defaults = {"misfire_grace_time": None, "coalesce": True, "max_instances": 1}
    scheduler = BackgroundScheduler(jobstores={"default": store}, executors={"default": ThreadPoolExecutor(10)}, job_defaults=defaults, timezone=timezone.utc)
    scheduler.start(paused=True)
    due = datetime.now(timezone.utc)
    began = time.perf_counter()
    for n in range(JOBS):
        scheduler.add_job(job, "interval", hours=1, start_date=due + timedelta(hours=1), next_run_time=due, id=f"bench-{n}")
    added = JOBS / (time.perf_counter() - began)
    began = time.perf_counter()
    scheduler.resume()
    for _ in range(JOBS):
        done.acquire()
    # The last is stored when the scheduler looks for the next.
    while any(stored.next_run_time <= due for stored in scheduler.get_jobs()):
        time.sleep(0.01)
    ran = JOBS / (time.perf_counter() - began)
    scheduler.shutdown()
    return ran, added


def main() -> None:
    logging.disable(logging.CRITICAL)
    figures = []
    for _ in range(ROUNDS):
        with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else None) as folder:
            figures.append(measure(Path(folder)))
    ran, added = (sorted(column)[ROUNDS // 2] for column in zip(*figures))
    print(json.dumps({"3": round(ran, 1), "4": round(added, 1)}))


if __name__ == "__main__":
    main()
