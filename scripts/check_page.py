"""Does a page open in a browser without console messages and without asking the network for anything?

Opens the page in headless Chromium, with the console on and every request recorded, and fails on the first
console message or request that leaves the machine. A screenshot is left beside the page. Without Chromium
nothing is checked, and that is said.

usage: python check_page.py PAGE.html [SCREENSHOT.png]
"""

import json
import pathlib
import shutil
import subprocess
import sys
import tempfile

SIZE = "1000,7600"
BROWSERS = ["chromium", "chromium-browser", "google-chrome", "chrome"]
# The initiator of the browser's own requests.
OWN = "not an origin"
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
    params = [event["params"] for event in events if isinstance(event.get("params"), dict)]
    # What the browser asks of its makers has no origin that began it.
    urls = {p.get("url", "") for p in params if p.get("initiator", OWN) != OWN}
    return console, {url for url in urls if url.startswith(("http:", "https:", "ws:", "wss:", "ftp:"))}


def main(page, shot):
    browser = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if browser is None:
        print(f"SKIPPED: none of {', '.join(BROWSERS)} is installed; {page} was not checked", file=sys.stderr)
        return 0
    console, requests = visit(browser, page.as_uri(), shot)
    outside = sorted(requests)
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
