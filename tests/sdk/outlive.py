"""Tasks that outlive several relay tokens, waited for with the vendor's own SDK: with one key for the whole wait, or
with a key that is renewed while it waits. Base URL and key are those of the environment.
Usage: outlive.py FILES_URL LEAST_SECONDS [TOKENS_URL APP SECRET]"""

import asyncio
import os
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus

import dashscope
import requests
from dashscope.audio.asr import Transcription
from dashscope.client.base_api import BaseAsyncAioApi

files, least, *renewal = sys.argv[1:]
tokens = []
ended = threading.Event()


def renew():
    url, app, secret = renewal
    answer = requests.post(url, auth=(app, secret), timeout=10)
    answer.raise_for_status()
    dashscope.api_key = answer.json()["token"]
    tokens.append(dashscope.api_key)


def keep_renewing():
    while not ended.wait(5):
        renew()


def transcript(response):
    assert response.status_code == HTTPStatus.OK, response
    assert response.output["task_status"] == "SUCCEEDED", response
    document = requests.get(response.output["results"][0]["transcription_url"], timeout=30).json()
    return document["transcripts"][0]["text"]


def waited():
    return Transcription.wait(Transcription.async_call("fun-asr", [f"{files}/market.wav"]))


def called():
    return Transcription.call("fun-asr", [f"{files}/train.mp3"])


def fetched():
    """Looks again and again, each time with the key of the moment."""
    task = Transcription.async_call("fun-asr", [f"{files}/library.ogg"])
    while True:
        response = Transcription.fetch(task, api_key=dashscope.api_key)
        if response.status_code != HTTPStatus.OK or response.output["task_status"] not in ("PENDING", "RUNNING"):
            return response
        ended.wait(2)


async def waited_asynchronously():
    task = {"model": "fun-asr", "task_group": "audio", "task": "asr", "function": "transcription"}
    submitted = await BaseAsyncAioApi.async_call(input={"file_urls": [f"{files}/weather.flac"]}, **task)
    return await BaseAsyncAioApi.wait(submitted)


if renewal:
    renew()
    renewing = threading.Thread(target=keep_renewing)
    renewing.start()
began = time.monotonic()
try:
    with ThreadPoolExecutor() as threads:
        parts = [threads.submit(part) for part in (waited, called, fetched)]
        responses = [asyncio.run(waited_asynchronously()), *(part.result() for part in parts)]
        took = time.monotonic() - began
finally:
    ended.set()
texts = [transcript(response) for response in responses]
for text, words in zip(texts, ("", "Fresh bread", "", "")):
    assert text and words in text, texts
assert took >= int(least), f"the tasks took {took} s only"
if renewal:
    renewing.join()
    dead = Transcription.fetch(responses[0].output["task_id"], api_key=tokens[0])
    assert dead.status_code == HTTPStatus.UNAUTHORIZED, dead
    assert len(set(tokens)) >= 4, tokens
    print(f"four waits of {took:.0f} s, while {len(set(tokens))} relay tokens came and went")
else:
    assert dashscope.api_key == os.environ["DASHSCOPE_API_KEY"]
    print(f"four waits of {took:.0f} s with one key")
