"""What a link to the page shows elsewhere: the product's name and picture, in its language."""

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from demo.ui.chinese import CHINESE
from demo.ui.preview import LinkPreview
from demo.ui.strings import ENGLISH
from demo.ui.theme import ASSETS

FOREIGN = """<!doctype html><html
 lang="en"><head><meta property="og:title" content="Gradio" />
<meta
 name="twitter:image" content="https://elsewhere.test/a.jpg" /></head><body>é</body></html>"""


@pytest.fixture
def client() -> TestClient:
    async def page(_: Request) -> HTMLResponse:
        return HTMLResponse(FOREIGN)

    async def plain(_: Request) -> PlainTextResponse:
        return PlainTextResponse(FOREIGN)

    routes = [Route("/", page), Route("/zh/", page), Route("/other", page), Route("/zh", plain)]
    before = Middleware(
        LinkPreview, languages={"/": ENGLISH, "/zh": CHINESE}, picture=ASSETS / "preview.png"
    )
    return TestClient(Starlette(routes=routes, middleware=[before]), base_url="http://studio.test")


def test_the_page_says_its_own_name(client: TestClient) -> None:
    answer = client.get("/")
    assert answer.headers["content-length"] == str(len(answer.content))
    assert "Gradio" not in answer.text
    assert "elsewhere" not in answer.text
    assert f'<meta property="og:title" content="{ENGLISH.title}">' in answer.text
    assert '<meta property="og:image" content="http://studio.test/preview.png">' in answer.text
    assert '<meta name="twitter:card" content="summary_large_image">' in answer.text
    assert "<body>é</body>" in answer.text
    secure = client.get("/", headers={"x-forwarded-proto": "https"})
    assert 'content="https://studio.test/preview.png"' in secure.text


def test_each_language_is_named(client: TestClient) -> None:
    chinese = client.get("/zh/").text
    assert 'lang="zh-Hans"' in chinese
    assert CHINESE.tagline in chinese
    assert '<meta property="og:locale" content="zh_CN">' in chinese
    assert 'lang="en"' in client.get("/").text
    assert '("zh-CN")</script>' in chinese  # Gradio's words follow


def test_all_else_passes_and_the_picture_is_there(client: TestClient) -> None:
    assert client.get("/other").text == FOREIGN
    assert client.get("/zh").text == FOREIGN  # no HTML
    picture = client.get("/preview.png")
    assert picture.headers["content-type"] == "image/png"
    assert picture.content.startswith(b"\x89PNG")
    assert len(picture.content) < 300_000
