"""Photographs a running demo for the documents.

    pixelar demo binary-mnist-gated-pixelcnn mnist-imagegpt
    python docs/figures/screenshots.py [http://127.0.0.1:7860]

Needs the extra `test`, and Chromium at /usr/bin/chromium or where CHROMIUM says.
"""

import os
import sys
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

OUT = Path("docs/images")
CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
FINISHED = "id => document.querySelector(id)?.innerText.includes('seed')"


def complete(page: Page) -> None:
    page.get_by_label("Centre box").check()
    page.click("#complete-go")
    page.wait_for_function(FINISHED, arg="#complete-status", timeout=120_000)


def understand(page: Page) -> None:
    page.get_by_role("tab", name="Understand").click()
    page.wait_for_selector("#understand-seen img")


def sample(page: Page) -> None:
    page.get_by_role("tab", name="Sample").click()
    page.click("#sample-go")
    page.wait_for_function(FINISHED, arg="#sample-status", timeout=120_000)


with sync_playwright() as playwright:
    browser = playwright.chromium.launch(
        executable_path=CHROMIUM, args=["--no-sandbox", "--disable-background-networking"]
    )
    for name, act in {
        "demo": complete,
        "demo-understand": understand,
        "demo-sample": sample,
    }.items():
        page = browser.new_page(viewport={"width": 1260, "height": 900})
        page.goto(sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:7860")
        page.wait_for_selector("#complete-go")
        page.wait_for_timeout(3000)
        act(page)
        page.wait_for_timeout(3000)
        page.screenshot(path=OUT / f"{name}.png", full_page=True)
        print(OUT / f"{name}.png")
