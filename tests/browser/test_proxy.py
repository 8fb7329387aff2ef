"""Behind a real nginx, with the documentation's own configuration: TLS, a base path, a public name, progress that comes at once."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, expect

from tests.ports import free_port
from tests.soak.server import running

pytestmark = pytest.mark.browser

ROOT = Path(__file__).resolve().parents[2]
NAME = "studio.example"


def certificate(folder: Path) -> None:
    """A certificate of our own making for the public name."""
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={NAME}"]
    files = ["-keyout", str(folder / "studio.key"), "-out", str(folder / "studio.pem")]
    subprocess.run([*command, *files], check=True, capture_output=True)


def configuration(folder: Path, port: int, studio_port: str) -> str:
    """The documentation's text with this test's ports and files."""
    found = re.search(r"```nginx\n(.*?)```", (ROOT / "docs" / "team.md").read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    text = found[1].replace("443", f"127.0.0.1:{port}").replace("8501", studio_port).replace("/etc/ssl", str(folder))
    head = f"daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log; events {{}}"
    temps = " ".join(
        f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    return f"{head}\nhttp {{ access_log off; {temps}\n{text}\n}}"


@pytest.fixture
def proxied(tmp_path: Path) -> Iterator[int]:
    """The port of an nginx with a studio behind it."""
    nginx = shutil.which("nginx") or shutil.which("/usr/sbin/nginx")
    if nginx is None or shutil.which("openssl") is None:
        pytest.skip("nginx or openssl is not installed: apt-get install nginx-light openssl")
    certificate(tmp_path)
    port = free_port()
    with running(tmp_path / "data", "--base", "draw", "--name", NAME, base="/draw") as studio:
        (tmp_path / "nginx.conf").write_text(configuration(tmp_path, port, str(httpx.URL(studio.url).port)))
        server = subprocess.Popen([nginx, "-p", str(tmp_path), "-c", str(tmp_path / "nginx.conf")])
        end = time.monotonic() + 20
        while time.monotonic() < end:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        yield port
        server.terminate()
        server.wait(10)


def ask(port: int, path: str, host: str, **more: str) -> httpx.Response:
    headers = {"Host": f"{host}:{port}"} | more
    return httpx.request(
        more.pop("method", "GET"), f"https://127.0.0.1:{port}{path}", headers=headers, verify=False, timeout=30
    )


def test_a_picture_is_made_through_the_proxy(browser: Browser, proxied: int) -> None:
    page_answer = ask(proxied, "/draw/", NAME)
    assert page_answer.status_code == 200
    cookie = page_answer.headers["set-cookie"]
    assert "Secure" in cookie
    assert "HttpOnly" in cookie
    assert "frame-ancestors 'self'" in page_answer.headers["content-security-policy"]
    assert ask(proxied, "/draw/studio/documents/nothing", NAME).status_code == 404
    assert ask(proxied, "/draw/studio/documents/nothing", "evil.example").status_code == 403
    launched = browser.browser_type.launch(
        executable_path=_chromium(), args=["--no-sandbox", f"--host-resolver-rules=MAP {NAME} 127.0.0.1"]
    )
    context = launched.new_context(ignore_https_errors=True, viewport={"width": 1440, "height": 900})
    page = context.new_page()
    page.set_default_timeout(60_000)
    page.goto(f"https://{NAME}:{proxied}/draw/")
    page.wait_for_selector(".paper canvas")
    page.get_by_label("Prompt", exact=True).fill("slow=0.2")
    page.get_by_label("Prompt", exact=True).blur()
    page.get_by_role("button", name="Generate").click()
    expect(page.get_by_text(re.compile(r"Step \d+ of"))).to_be_visible(timeout=60_000)
    expect(page.locator('.results img[src*="/draw/studio/pictures/"]').first).to_be_visible(timeout=60_000)
    page.get_by_role("link", name="Gallery").click()
    expect(page.locator(".tile img").first).to_be_visible(timeout=60_000)
    launched.close()


def _chromium() -> str | None:
    from tests.chromium import install

    return install()
