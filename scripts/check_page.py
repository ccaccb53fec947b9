"""Does a page open in a browser without console messages and without asking the network for anything?

Opens the page in headless Chromium, with the console on and every request recorded, and fails on the first
console message or request that leaves the machine. A screenshot is left beside the page. Without Chromium
nothing is checked, and that is said.

usage: python check_page.py PAGE.html [SCREENSHOT.png]
"""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import urllib.parse

SIZE = "1000,7600"
BROWSERS = ["chromium", "chromium-browser", "google-chrome", "chrome"]
# What the browser would do of its own accord is switched off, so that what is left is the page's.
QUIET = [
    "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-default-apps", "--disable-extensions", "--disable-domain-reliability",
    "--disable-features=OptimizationHints,MediaRouter,Translate,AutofillServerCommunication",
]


def visit(browser, url, shot):
    """Console messages, and the addresses of all requests that leave the machine."""
    with tempfile.TemporaryDirectory() as home:
        log = pathlib.Path(home, "net.json")
        run = subprocess.run(
            [browser, *QUIET, f"--user-data-dir={home}/profile", "--enable-logging=stderr", "--v=0",
             f"--log-net-log={log}", "--net-log-capture-mode=Everything", f"--window-size={SIZE}",
             f"--screenshot={shot}", url],
            capture_output=True, text=True, timeout=120, check=False,
        )
        if run.returncode != 0 or not log.is_file():
            sys.exit(f"{run.stderr}\n{browser} failed with status {run.returncode}")
        events = json.loads(log.read_text())["events"]
    console = [line for line in run.stderr.splitlines() if "CONSOLE" in line]
    urls = {event.get("params", {}).get("url", "") for event in events}
    return console, {url for url in urls if url.startswith(("http:", "https:", "ws:", "wss:", "ftp:"))}


def main(page, shot):
    browser = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if browser is None:
        print(f"SKIPPED: none of {', '.join(BROWSERS)} is installed; {page} was not checked", file=sys.stderr)
        return 0
    # What the browser asks of its makers on an empty page is not the page's doing.
    own = {urllib.parse.urlsplit(url).hostname for url in visit(browser, "about:blank", os.devnull)[1]}
    console, requests = visit(browser, page.as_uri(), shot)
    outside = sorted(url for url in requests if urllib.parse.urlsplit(url).hostname not in own)
    for line in console:
        print(f"console: {line}", file=sys.stderr)
    for url in outside:
        print(f"request: {url}", file=sys.stderr)
    if console or outside:
        return 1
    print(f"{page}: opened, no console message, no request; see {shot}")
    return 0


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    page = pathlib.Path(sys.argv[1]).resolve(strict=True)
    shot = pathlib.Path(sys.argv[2] if len(sys.argv) == 3 else page.with_suffix(".png")).resolve()
    sys.exit(main(page, shot))
