"""What the SDK saw at the relay is what it saw at the service itself, but for ids and URLs of results.
Usage: compare.py DIRECT.json RELAYED.json…"""

import json
import pathlib
import sys

# Ids are told apart by who makes them, and times by when.
MASKED = {"request_id", "task_id", "transcription_url", "gmt_create", "submit_time", "scheduled_time", "end_time"}
TIMES = {"submit_time", "scheduled_time", "end_time"}
# A refusal in the broker's own words, before the service has a say.
OWN_WORDS = {"another's key": {"message"}, "fetch with another's key": {"message"}, "no files": {"code", "message"}}
# Of tasks on a list: what tells of the account. And when a task began and ended, which a query tells.
OF_THE_ACCOUNT = {"api_key_id", "caller_uid", "caller_parent_id", "user_api_unique_key", "region", "request_id"}
TASKS = 7


def masked(value, name=""):
    if isinstance(value, dict):
        # Until a task has ended its times are told once somebody has looked; the relay does not look for that.
        early = TIMES if value.get("task_status") in ("PENDING", "RUNNING", "CANCELED") else set()
        return {name: masked(value, name) for name, value in value.items() if name not in early}
    if isinstance(value, list):
        return [masked(item) for item in value]
    return "…" if name in MASKED and value else value


def load(file):
    saw = {name: masked(value) for name, value in json.loads(pathlib.Path(file).read_text()).items()}
    for name, fields in OWN_WORDS.items():
        assert all(saw[name][field] for field in fields), saw[name]
        saw[name] = {field: value for field, value in saw[name].items() if field not in fields}
    return saw


def fields(entries):
    return [set(entry) - OF_THE_ACCOUNT - {"start_time", "end_time"} for entry in entries]


direct = load(sys.argv[1])
listed = direct.pop("list")
for file in sys.argv[2:]:
    relayed = load(file)
    own = relayed.pop("list")
    assert set(own) == set(listed), own
    assert own["total"] == TASKS, f"only its own tasks: {own}"
    assert fields(own["data"]) == fields(listed["data"]), own
    assert not any(OF_THE_ACCOUNT & set(entry) for entry in own["data"]), own
    for name in ("status", "model_name"):
        assert [entry[name] for entry in own["data"]] == [entry[name] for entry in listed["data"]], own
    assert relayed.keys() == direct.keys(), relayed.keys() ^ direct.keys()
    for name, answer in direct.items():
        assert relayed[name] == answer, f"{name}\n  itself: {answer}\n  relay:  {relayed[name]}"
print(f"{len(direct)} answers of the SDK are the same at the relay, by {len(sys.argv) - 2} kinds of key")
