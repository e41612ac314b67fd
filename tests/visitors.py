"""A visitor as the page makes one, over plain HTTP: its events, called by their names."""

import json
import secrets
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import httpx

API = "/gradio_api"
SECRET_LENGTH = 43  # of what the browser keeps


class Visitor:
    """One page that is open, with all that its components hold at first.

    Attributes:
        session: gradio's name of the visit.
        owner: the browser's secret; a new one unless it is given.
        http: connections of its own.
    """

    def __init__(self, url: str, timeout: float = 300.0, owner: str = "") -> None:
        self.http = httpx.Client(base_url=url, timeout=timeout)
        config = self.http.get("/config").raise_for_status().json()
        parts = {part["id"]: part for part in config["components"]}
        self._kinds = {id: part["type"] for id, part in parts.items()}  # noqa: A001
        self._values = {id: part["props"].get("value") for id, part in parts.items()}  # noqa: A001
        # The page comes in two languages, and the first of a name is English.
        events = [event for event in config["dependencies"] if event["backend_fn"]]
        self._events = {event["api_name"]: event for event in reversed(events)}
        self.session = secrets.token_hex(6)
        self.owner = owner
        greeted = self.call("greet")
        self.owner = next(
            value for value in greeted if isinstance(value, str) and len(value) == SECRET_LENGTH
        )

    def call(self, name: str, given: Mapping[int, object] | None = None) -> list[Any]:
        """Let an event happen → its outputs.

        Args:
            name: of its handler.
            given: inputs by their place; the others are as the page has them at first.

        Raises:
            AssertionError: it did not end well.
        """
        event = self._events[name]
        body = {
            "fn_index": event["id"],
            "data": [
                (given or {}).get(place, self._input(id, place))
                for place, id in enumerate(event["inputs"])  # noqa: A001
            ],
            "session_hash": self.session,
        }
        if not event["queue"]:
            answer = self.http.post(f"{API}/run/predict", json=body)
            assert answer.status_code == 200, (name, answer.status_code, answer.text[:200])
            return answer.json()["data"]
        joined = self.http.post(f"{API}/queue/join", json=body)
        assert joined.status_code == 200, (name, joined.status_code, joined.text[:200])
        for message in self._messages():
            if message["msg"] == "process_completed":
                assert message["success"], (name, message)
                return message["output"]["data"]
            assert message["msg"] not in ("unexpected_error", "close_stream"), (name, message)
        raise AssertionError(f"{name} never ended")

    def upload(self, name: str, data: bytes) -> dict[str, object]:
        """Send a file → what the page makes of it in an event."""
        sent = self.http.post(f"{API}/upload", files={"files": (name, data)})
        assert sent.status_code == 200, (sent.status_code, sent.text[:200])
        meta = {"_type": "gradio.FileData"}
        return {"path": sent.json()[0], "orig_name": name, "meta": meta}

    def send(self, text: str, pictures: Sequence[dict[str, object]] = ()) -> str:
        """Send a message → what the chat then shows, as text."""
        message = {"text": text, "files": list(pictures)}
        return json.dumps(self.call("send", {1: message}))

    def close(self) -> None:
        """Close its connections."""
        self.http.close()

    def _input(self, id: int, place: int) -> object:  # noqa: A002
        if self._kinds[id] == "browserstate":  # the first is the secret, another is settings
            return self.owner if place <= 3 and self.owner else None
        return self._values[id]

    def _messages(self) -> Iterator[dict[str, Any]]:
        place = {"session_hash": self.session}
        with self.http.stream("GET", f"{API}/queue/data", params=place) as stream:
            for line in stream.iter_lines():
                if line.startswith("data:"):
                    yield json.loads(line[5:])
