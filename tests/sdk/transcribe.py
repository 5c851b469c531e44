"""The vendor's own SDK as its documentation uses it; it knows nothing of a broker. Base URL and key are those of
the environment. Prints what it saw as JSON. Usage: transcribe.py FILES_URL"""

import asyncio
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus

import requests
from dashscope.audio.asr import Transcription
from dashscope.client.base_api import BaseAsyncAioApi

files = sys.argv[1]
GOOD, MISSING = f"{files}/market.wav", f"{files}/missing.wav"
NOTHING = "00000000-0000-4000-8000-000000000000"
# The SDK has an asynchronous class of tasks, and none of transcriptions.
TASK = {"model": "fun-asr", "task_group": "audio", "task": "asr", "function": "transcription"}
saw = {}


def see(name, response):
    """Notes an answer: all of it but for its headers."""
    fields = ("status_code", "request_id", "code", "message", "output", "usage")
    saw[name] = {field: getattr(response, field) for field in fields}
    return response


def succeeded(response):
    assert response.status_code == HTTPStatus.OK, response
    assert response.output["task_status"] == "SUCCEEDED", response
    return response


def read(response):
    """The transcripts, as the documentation reads them: by their URLs, without a header."""
    results = response.output["results"]
    answers = [requests.get(result["transcription_url"], timeout=30) for result in results if "code" not in result]
    assert all(answer.status_code == HTTPStatus.OK for answer in answers), [answer.text for answer in answers]
    return [answer.json() for answer in answers]


def cancelled():
    submitted = Transcription.async_call(model="fun-asr", file_urls=[GOOD], channel_id=[0])
    see("cancel", Transcription.cancel(submitted))
    see("fetch of what was cancelled", Transcription.fetch(submitted))
    see("wait for what was cancelled", Transcription.wait(submitted))
    see("cancel again", Transcription.cancel(submitted))
    return submitted.output.task_id


def called():
    ended = see("call", succeeded(Transcription.call(model="fun-asr", file_urls=[GOOD], language_hints=["en"])))
    saw["transcripts of call"] = read(ended)


def waited():
    submitted = see("async_call", Transcription.async_call("fun-asr", [GOOD, MISSING], diarization_enabled=True))
    see("fetch", Transcription.fetch(submitted))
    ended = see("wait", succeeded(Transcription.wait(submitted)))
    see("fetch by id", succeeded(Transcription.fetch(submitted.output.task_id)))
    see("cancel of what has ended", Transcription.cancel(submitted))
    saw["transcripts of wait"] = read(ended)
    return submitted.output.task_id


def failed():
    see("call that fails", Transcription.call("fun-asr", [MISSING]))
    see("fetch of nothing", Transcription.fetch(NOTHING))
    see("wait for nothing", Transcription.wait(NOTHING))
    see("cancel of nothing", Transcription.cancel(NOTHING))
    see("no files", Transcription.async_call("fun-asr", []))
    see("another's key", Transcription.async_call("fun-asr", [GOOD], api_key="sk-nobody"))
    see("fetch with another's key", Transcription.fetch(NOTHING, api_key="sk-nobody"))


async def asynchronous():
    submitted = see("aio async_call", await BaseAsyncAioApi.async_call(input={"file_urls": [GOOD]}, **TASK))
    see("aio fetch", await BaseAsyncAioApi.fetch(submitted))
    ended = see("aio wait", succeeded(await BaseAsyncAioApi.wait(submitted)))
    saw["transcripts of aio wait"] = read(ended)
    ended = see("aio call", succeeded(await BaseAsyncAioApi.call(input={"file_urls": [GOOD, MISSING]}, **TASK)))
    saw["transcripts of aio call"] = read(ended)
    submitted = await BaseAsyncAioApi.async_call(input={"file_urls": [MISSING]}, **TASK)
    see("aio cancel", await BaseAsyncAioApi.cancel(submitted))
    see("aio fetch of what was cancelled", await BaseAsyncAioApi.fetch(submitted))
    see("aio wait for nothing", await BaseAsyncAioApi.wait(NOTHING))
    listed = await BaseAsyncAioApi.list(status="CANCELED", model_name="fun-asr", page_no=1, page_size=50)
    assert submitted.output["task_id"] in ids(listed), listed
    assert {entry["status"] for entry in listed.output["data"]} == {"CANCELED"}, listed


def ids(listed):
    assert listed.status_code == HTTPStatus.OK, listed
    return [entry["task_id"] for entry in listed.output["data"]]


with ThreadPoolExecutor() as threads:
    parts = [threads.submit(part) for part in (cancelled, waited, called, failed)]
    asyncio.run(asynchronous())
    own = [part.result() for part in parts][:2]

listed = Transcription.list(page_size=100)
assert set(own) <= set(ids(listed)), listed
saw["list"] = {**listed.output, "data": [entry for entry in listed.output["data"] if entry["task_id"] in own]}
saw["list"]["data"].sort(key=lambda entry: entry["status"])
assert ids(Transcription.list(start_time="20200101000000", end_time="20200102000000")) == []
print(json.dumps(saw))
