"""The page of a benchmark's results, in headless Chromium."""

import shutil

import pytest
from report_results import AGENTS, KNOWN, RECORD, UNKNOWN, made_up, plots_of

from evaluation.report import write_report

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "google-chrome"))), None)
TIMEOUT = 120_000  # milliseconds
FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    results = made_up(tasks=[KNOWN, UNKNOWN])
    return write_report(results, [RECORD], tmp_path_factory.mktemp("results"))


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        pytest.skip("there is no Chromium here (Debian: apt-get install chromium)")
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS.split())
        yield started
        started.close()


@pytest.mark.parametrize(
    ("size", "scheme"),
    [((390, 844), "dark"), ((1280, 900), "light")],
    ids=["phone", "desktop"],
)
def test_in_a_browser(browser, page, size, scheme):
    from playwright.sync_api import expect

    expect.set_options(timeout=TIMEOUT)
    viewport = {"width": size[0], "height": size[1]}
    view = browser.new_page(viewport=viewport, color_scheme=scheme)
    # A page takes two seconds of a processor; a busy machine may take long to find them.
    view.set_default_timeout(TIMEOUT)
    said, requests = [], []
    view.on("console", lambda message: said.append(message.text))
    view.on("pageerror", lambda error: said.append(str(error)))
    view.on("dialog", lambda dialog: (said.append(dialog.message), dialog.dismiss()))
    view.on("request", lambda request: requests.append(request.url))
    view.goto(page.as_uri())
    for name, plot in plots_of(page).items():
        element = view.locator(f'[id="{name}"]')
        element.scroll_into_view_if_needed()
        element.locator(".main-svg").first.wait_for()
        lines = [trace for trace in plot["data"] if trace.get("mode") == "lines"]
        expect(element.locator(".scatterlayer .js-line")).to_have_count(len(lines))
        expect(element.locator(".scatterlayer .trace")).to_have_count(len(plot["data"]))
    # Names are shown as they are, not as HTML or formulae.
    ticks = view.locator('[id="overall-regret"] .ytick text')
    assert set(ticks.all_text_contents()) == set(AGENTS)
    assert view.evaluate("document.documentElement.scrollWidth <= innerWidth")

    name = next(name for name in plots_of(page) if "Branin" in name)
    plot = view.locator(f'[id="{name}"]')
    part = view.locator("section.part", has=plot)
    lines = plot.locator(".scatterlayer .js-line")
    count = lines.count()
    legend = part.locator("[data-agent]", has_text="alert(1)")
    legend.click()
    assert legend.get_attribute("aria-pressed") == "false"
    expect(lines).to_have_count(count - 1)
    legend.click()
    expect(lines).to_have_count(count)
    legend.dblclick()
    expect(lines).to_have_count(1)
    legend.dblclick()
    expect(lines).to_have_count(count)
    part.locator("[data-bands]").click()
    expect(plot.locator(".scatterlayer .trace")).to_have_count(count)
    assert said == []
    assert requests == [page.as_uri()]
    view.close()
