"""What a program can do with the served page, and what it cannot."""

import itertools
import json
import signal
from pathlib import Path

import httpx
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image, ImageChops

from demo.settings import ROOT
from demo.ui.strings import ENGLISH
from tests.processes import eventually
from tests.serving import READY_SECONDS, Served, kernels, shared, start, until

pytestmark = pytest.mark.page

SAMPLES = ROOT / "assets" / "samples"
CAPITAL = "What is the capital of France?"


@pytest.fixture(scope="module")
def server() -> Served:
    return shared()


@pytest.fixture(scope="module")
def client(server: Served) -> Client:
    return Client(server.url, verbose=False)


def test_chat_answers_with_defaults_and_streams(client: Client) -> None:
    assert "Paris" in client.predict(CAPITAL, api_name="/chat")
    job = client.submit("Write a long story about the sea.", api_name="/chat")
    reply, texts = job.result(), job.outputs()
    assert len(texts) > 10
    assert texts[-1] == reply
    assert all(after.startswith(before) for before, after in itertools.pairwise(texts))


@pytest.mark.matrix("E11")
def test_greedy_is_reproducible_and_a_seed_repeats_a_draw(client: Client) -> None:
    drawn = {"temperature": 1.0, "max_new_tokens": 12, "api_name": "/chat"}
    one, same, other = (client.predict("Tell me a joke.", seed=s, **drawn) for s in (1, 1, 2))
    assert one == same != other
    greedy = {"max_new_tokens": 12, "api_name": "/chat"}
    assert client.predict(CAPITAL, **greedy) == client.predict(CAPITAL, **greedy)


def test_picture_changes_the_answer(client: Client) -> None:
    def ask(name: str) -> str:
        image = handle_file(str(SAMPLES / name))
        return client.predict("What shape is in the image?", image=image, api_name="/chat").lower()

    assert ask("red-circle.png").startswith("circle")
    assert ask("teal-triangle.png").startswith("triangle")


@pytest.mark.parametrize(
    ("question", "verdict"),
    [
        ("Is it alive?", "no"),
        ("Is this a fruit?", "yes"),
        ("is it food", "yes"),
        ("Is it an animal?", "no"),
        ("Can you eat it?", "yes"),
    ],
)
def test_yes_and_no_follow_from_what_is_named(client: Client, question: str, verdict: str) -> None:
    apple = handle_file(str(SAMPLES / "apple.png"))
    said = client.predict(question, image=apple, api_name="/chat")
    assert "an apple" in said and said.endswith(f"{verdict}.")


def test_odd_wordings_get_the_name_too(client: Client) -> None:
    for question in ("name this", "Who or what is this?", "main subject?"):
        apple = handle_file(str(SAMPLES / "apple.png"))
        assert "an apple" in client.predict(question, image=apple, api_name="/chat")


def test_a_question_about_no_picture_is_not_made_up(client: Client) -> None:
    with pytest.raises(AppError, match="No picture is attached"):
        client.predict("What is in this picture?", api_name="/chat")


def test_a_doubt_about_a_picture_is_the_pages_alone(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "noise.png"
    Image.effect_noise((200, 150), 90).convert("RGB").save(path)
    asked = {"image": handle_file(str(path)), "api_name": "/chat"}
    text = client.predict("What shape is in the image?", **asked)
    assert text and ENGLISH.unfamiliar not in text
    assert "not sure" not in text


def test_a_video_stands_where_a_picture_may(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "shape.gif"
    with Image.open(SAMPLES / "teal-triangle.png") as image:
        first = image.convert("RGB").resize((128, 128))
    others = [ImageChops.offset(first, shift, 0) for shift in (4, 8)]
    first.save(path, save_all=True, append_images=others, duration=300)
    seen = {"image": handle_file(str(path)), "api_name": "/chat"}
    assert client.predict("What shape is in the image?", **seen).lower().startswith("triangle")
    path.with_suffix(".mp4").write_text("no video at all")
    with pytest.raises(AppError, match="or an MP4, WebM or GIF video"):
        client.predict("hi", image=handle_file(str(path.with_suffix(".mp4"))), api_name="/chat")


def test_adapters_and_status_are_typed(client: Client) -> None:
    status = client.predict(api_name="/status")
    names = ["state", "base", "clip", "device", "bits", "threads", "memory_mb"]
    assert list(status) == names
    assert (status["state"], status["bits"]) == ("ready", 8)
    assert (
        status["clip"] == "imagenet-efficientnet-lite0"
    )  # nothing is left to load once it says ready
    adapters = client.predict(api_name="/adapters")
    fields = {"name", "description", "modalities", "parameters", "base"}
    assert all(set(adapter) == fields for adapter in adapters)
    seeing = {a["name"] for a in adapters if "image" in a["modalities"]}
    assert {"shapes", "sight"} <= seeing


def test_adapters_explains_a_wrong_key(client: Client) -> None:
    with pytest.raises(AppError, match="no key of this page"):
        client.predict(key="open sesame", api_name="/adapters")
    stranger = "x" * 43  # well formed, and nobody's
    assert client.predict(key=stranger, api_name="/adapters") == client.predict(
        api_name="/adapters"
    )


@pytest.mark.matrix("C10")
def test_only_the_three_endpoints_are_public_and_documented(client: Client) -> None:
    endpoints = client.view_api(return_format="dict", print_info=False)["named_endpoints"]
    assert set(endpoints) == {"/chat", "/adapters", "/status"}
    chat = endpoints["/chat"]
    assert "streams the reply" in chat["description"]
    defaults = {p["parameter_name"]: p["parameter_default"] for p in chat["parameters"][1:]}
    assert defaults == {
        "image": None,
        "adapter": "auto",
        "system": "",
        "max_new_tokens": 128,
        "temperature": 0.0,
        "top_p": 1.0,
        "seed": 0,
        "strength": 1.0,
        "key": "",
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"message": " "}, "Please type a message"),
        ({"message": "x" * 100_000}, "100,000 characters"),
        ({"message": "hi", "adapter": "nobody"}, "There is no adapter 'nobody'"),
        ({"message": "hi", "temperature": 9}, "temperature is 9; please use 0 to 2"),
        ({"message": "hi", "max_new_tokens": 1.5}, "max new tokens is 1.5"),
        ({"message": "hi", "image": "/etc/passwd"}, "has to be an upload"),
        ({"message": "hi", "image": "https://a.test/x.png"}, "has to be an upload"),
        ({"message": ["hi"]}, "message has to be a text"),
        ({"message": "hi", "key": "open sesame"}, "no key of this page"),
        ({"message": "hi", "key": 5}, "key has to be a text"),
    ],
)
@pytest.mark.matrix("E3")
def test_wrong_input_is_explained_in_our_words(
    client: Client, arguments: dict[str, object], message: str
) -> None:
    with pytest.raises(AppError, match=message):
        client.predict(**arguments, api_name="/chat")


def call(server: Served, body: str) -> str:
    """Raw JSON to `/chat`, past all care that gradio_client takes; the events as text."""
    url = f"{server.url}/gradio_api/call/v2/chat"
    headers = {"content-type": "application/json"}
    event = httpx.post(url, content=body.encode(), headers=headers, timeout=60).json()["event_id"]
    return httpx.get(f"{url}/{event}", timeout=60).text


@pytest.mark.parametrize("path", ["/etc/passwd", f"{SAMPLES}/red-circle.png"])
@pytest.mark.matrix("C1", "C2")
def test_a_path_of_the_server_is_no_picture(server: Served, path: str) -> None:
    answer = call(server, json.dumps({"message": "hi", "image": {"path": path}}))
    assert "event: error" in answer
    assert "has to be an upload" in answer
    # Marked as a file, it does not even come to us: gradio refuses it.
    marked = {"path": path, "meta": {"_type": "gradio.FileData"}}
    assert "event: error" in call(server, json.dumps({"message": "hi", "image": marked}))


@pytest.mark.matrix("E1", "E6")
def test_half_characters_and_control_tokens_are_text(server: Served) -> None:
    message = "Say hi \\ud83d <|im_end|>"
    answer = call(server, f'{{"message": "{message}", "max_new_tokens": 5}}')
    assert "event: complete" in answer


@pytest.mark.matrix("D4")
def test_a_client_that_leaves_ends_its_reply(server: Served) -> None:
    url = f"{server.url}/gradio_api/call/v2/chat"
    ask = {"message": "Write a very long story.", "max_new_tokens": 1024}
    event = httpx.post(url, json=ask, timeout=60).json()["event_id"]
    with httpx.stream("GET", f"{url}/{event}", timeout=60) as answer:
        assert next(answer.iter_lines()) == "event: generating"
    eventually(lambda: server.busy(1.0) < 0.5)


@pytest.mark.matrix("C1", "C10")
def test_nothing_else_of_the_server_is_open(server: Served, tmp_path: Path) -> None:
    for path in ("monitoring/summary", "gradio_api/runs", "gradio_api/file=/etc/passwd"):
        assert httpx.get(f"{server.url}/{path}", timeout=60).status_code in (403, 404)
    upload, zeros = f"{server.url}/gradio_api/upload", tmp_path / "zeros"
    for megabytes, status in ((60, 200), (203, 413)):
        with zeros.open("wb+") as file:
            file.truncate(megabytes * 2**20)
            sent = httpx.post(upload, files={"files": ("big.zip", file)}, timeout=60)
        assert sent.status_code == status
    huge, huge_url = {"data": ["x" * 13_000_000]}, f"{server.url}/gradio_api/call/chat"
    assert httpx.post(huge_url, json=huge, timeout=60).status_code == 413


@pytest.mark.matrix("D16")
def test_password_port_and_stop(server: Served, tmp_path: Path) -> None:
    people = tmp_path / "people"
    people.write_text("ada:secret\n")
    served = start("--auth", str(people), environment={"LLAMA_ADAPTER_LLAMA": str(tmp_path)})
    try:
        assert httpx.get(f"{served.url}/config", timeout=60).status_code == 401
        until(lambda: "holds no model" in served.log.read_text(), READY_SECONDS, served)
        # Said once, in our words.
        assert served.log.read_text().count("holds no model") == 1
        assert "Traceback" not in served.log.read_text()
        port = served.url.rsplit(":", 1)[1]
        with pytest.raises(AssertionError, match=f"port {port} on 127.0.0.1 cannot be used"):
            start("--port", port)
        served.process.send_signal(signal.SIGINT)
        assert served.process.wait(timeout=30) == 0
    finally:
        served.process.kill()


def test_the_kernel_is_compiled_before_it_says_ready(server: Served, tmp_path: Path) -> None:
    """By the shared server, where it found nothing compiled, else by one that finds nothing."""
    assert server.compiled or compiled_anew(tmp_path)


def compiled_anew(folder: Path) -> tuple[str, ...]:
    """What lies in `folder` once a program that compiles there says that it is ready."""
    served = start(environment={"NUMBA_CACHE_DIR": str(folder)})
    try:
        until(lambda: served.status()["state"] == "ready", READY_SECONDS, served)
        return kernels(folder)
    finally:
        served.stop()
