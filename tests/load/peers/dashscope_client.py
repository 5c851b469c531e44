"""The vendor's SDK does a job: callers submit tasks and wait for each, as its own examples do.

Says `ready` once it is loaded, reads the job from standard input, prints a report. What the SDK gives up
(a wait that ends on 429) is counted, and done again after a second, as whoever uses it has to.
"""

import json
import random
import resource
import sys
import threading
import time
from http import HTTPStatus

import dashscope
from dashscope.audio.asr import Transcription


class Report:
    def __init__(self):
        self.lock = threading.Lock()
        self.known, self.refused, self.failed = [], 0, []

    def know(self, caller, place, task):
        at = time.time()
        with self.lock:
            self.known.append({"caller": caller, "place": place, "task": task, "at": at})

    def refuse(self):
        with self.lock:
            self.refused += 1
        time.sleep(random.uniform(0.5, 1.5))

    def fail(self, what):
        with self.lock:
            self.failed.append(str(what)[:200])


def insist(report, call):
    """The answer of a call, however often it is refused for now."""
    while True:
        answer = call()
        if answer.status_code != HTTPStatus.TOO_MANY_REQUESTS:
            return answer
        report.refuse()


def transcribe(report, key, caller, place, task):
    try:
        submitted = insist(
            report,
            lambda: Transcription.async_call(model="fun-asr", file_urls=[task["url"]], api_key=key),
        )
        if submitted.status_code != HTTPStatus.OK:
            return report.fail(submitted)
        name = submitted.output["task_id"]
        ended = insist(report, lambda: Transcription.wait(task=name, api_key=key))
        if ended.status_code != HTTPStatus.OK:
            return report.fail(ended)
        report.know(caller, place, name)
    except Exception as error:  # What the SDK throws ends this task alone.
        report.fail(error)


def one_after_another(report, number, caller):
    for place, task in enumerate(caller["tasks"]):
        transcribe(report, caller["key"], number, place, task)


def threads(report, job):
    for number, caller in enumerate(job["callers"]):
        if not caller["at_once"]:
            yield threading.Thread(target=one_after_another, args=(report, number, caller), daemon=True)
            continue
        for place, task in enumerate(caller["tasks"]):
            arguments = (report, caller["key"], number, place, task)
            yield threading.Thread(target=transcribe, args=arguments, daemon=True)


def main():
    print("ready", flush=True)
    job = json.load(sys.stdin)
    dashscope.base_http_api_url = job["base_url"]
    report = Report()
    began = time.monotonic()
    running = []
    for thread in threads(report, job):
        thread.start()
        running.append(thread)
        # No faster than the account may submit.
        time.sleep(1 / job["submits_per_second"])
    patience = began + job["patience_seconds"]
    for thread in running:
        thread.join(max(0, patience - time.monotonic()))
    with report.lock:
        print(
            json.dumps(
                {
                    "known": report.known,
                    "refused": report.refused,
                    "failed": report.failed,
                    "seconds": time.monotonic() - began,
                    "peak_kib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
                }
            ),
            flush=True,
        )


main()
