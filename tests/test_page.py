"""The page holds what it promises, asks for nothing, and a browser shows every figure."""

import base64
import doctest
import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from io import BytesIO

import arviz as az
import numpy as np
import pymc as pm
import pytest
from matplotlib.image import imread

import mle_pp as mle

RNG = np.random.default_rng(20260112)
Y = RNG.normal([3.0, -1.0], 2.0, size=(10, 2))
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def build():
    with pm.Model(coords={"group": ["a <&> b", "c"]}) as model:
        mu, sigma = pm.Normal("mu", 0, 5, dims="group"), pm.HalfNormal("sigma", 5)
        pm.Normal("y", mu, sigma, observed=Y)
    return model


@pytest.fixture(scope="module")
def est():
    return mle.find_MLE(build())


@pytest.fixture(scope="module")
def idata(est):
    draws = {name: value.values + RNG.normal(0, 0.2, size=(2, 150, *value.shape)) for name, value in est.params.items()}
    new = RNG.normal(draws["mu"][:, :, None], 2.0, size=(2, 150, 10, 2))
    groups = {"posterior": draws, "posterior_predictive": {"y": new}, "observed_data": {"y": Y}}
    groups["sample_stats"] = {"diverging": np.arange(300).reshape(2, 150) < 7}
    return az.from_dict(groups, coords={"group": ["a <&> b", "c"]}, dims={"mu": ["group"]})


@pytest.fixture(scope="module")
def page(est, idata, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "fit.html"
    assert mle.report(est, idata, path, title="Two & three", random_seed=31) == path
    return path


class Reader(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.words = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.words.append(data)


def test_page_holds_what_it_promises(est, page):
    reader = Reader(page.read_text(encoding="utf-8"))
    words = " ".join(reader.words)
    for heading in ("Verdict and estimates", "Roles of the variables", "Model", "Data", "The posterior", "Figures"):
        assert heading in reader.words
    for text in ("CONVERGED", "mu[a <&> b]", "constant prior, dropped", "HalfNormal(0, 5)", "prior_pull", "pymc", "31"):
        assert text in words
    assert f"{est.loglik:.6g}" in words
    assert "Two & three" in reader.words
    # Divergences
    assert reader.words[reader.words.index("divergences") :][:6].count("7") == 1


def test_every_figure_is_in_the_page(page):
    reader = Reader(page.read_text(encoding="utf-8"))
    images = [attrs for tag, attrs in reader.tags if tag == "img"]
    figures = [attrs for attrs in images if attrs["src"].startswith("data:image/png;base64,")]
    # Forest, densities, profiles, pairs, residuals, predictive check, starts
    assert len(figures) == 7
    assert "Not drawn" not in " ".join(reader.words)
    for attrs in figures:
        pixels = imread(BytesIO(base64.b64decode(attrs["src"].partition(",")[2])))
        assert min(pixels.shape[:2]) > 150
        assert np.ptp(pixels[..., :3]) > 0.5
        assert attrs["alt"]


def test_nothing_is_asked_of_the_network(page):
    text = page.read_text(encoding="utf-8")
    reader = Reader(text)
    assert {tag for tag, _ in reader.tags}.isdisjoint({"script", "link", "iframe", "object", "embed"})
    for _, attrs in reader.tags:
        assert "href" not in attrs
        assert attrs.get("src", "data:").startswith("data:")
    assert "url(" not in text
    assert "@import" not in text
    assert "default-src 'none'" in text


@pytest.mark.skipif(BROWSER is None, reason="no Chromium here")
def test_a_browser_shows_every_figure(page, tmp_path):
    script = """
      window.addEventListener("load", () => {
        const inside = document.getElementById("page").contentWindow;
        const height = image => image.getBoundingClientRect().height;
        const found = [...inside.document.images].map(i => [i.complete, i.naturalWidth, height(i)]);
        const asked = inside.performance.getEntriesByType("resource").map(e => e.name.slice(0, 5));
        document.getElementById("found").textContent = JSON.stringify({found, asked});
      });
    """
    frame = f'<iframe id="page" width="1000" height="3000" src="{page.as_uri()}"></iframe>'
    outer = tmp_path / "outer.html"
    outer.write_text(f'<pre id="found"></pre>{frame}<script>{script}</script>', encoding="utf-8")
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files"]
    command += ["--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={tmp_path / 'profile'}"]
    command += ["--virtual-time-budget=10000", "--dump-dom", outer.as_uri()]
    dom = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    seen = json.loads(re.search(r'<pre id="found">(.*?)</pre>', dom)[1])
    expected = page.read_text(encoding="utf-8").count("<img ")
    assert len(seen["found"]) == expected >= 7
    assert all(complete and width > 100 and height > 100 for complete, width, height in seen["found"])
    assert set(seen["asked"]) <= {"data:"}


@pytest.mark.filterwarnings("ignore::mle_pp.VerdictWarning")
def test_what_cannot_be_drawn_is_told(tmp_path):
    with pm.Model() as model:
        a, b = pm.Normal("a"), pm.Normal("b")
        pm.Normal("y", a + b, 1, observed=[1.0, 2.0])
    est = mle.find_MLE(model)
    draws = {name: RNG.normal(size=(2, 100)) for name in ("a", "b")}
    idata = az.from_dict({"posterior": draws, "observed_data": {"y": np.array([1.0, 2.0])}})
    words = " ".join(Reader(mle.report(est, idata, tmp_path / "fit.html").read_text(encoding="utf-8")).words)
    assert "NOT_IDENTIFIED" in words
    assert "a has no region: the data do not determine it" in words
    assert "ProfileWarning: Profile intervals. a: lower withheld" in words


def test_without_a_posterior(tmp_path):
    est = mle.find_MAP(build())
    path = mle.report(est, None, str(tmp_path / "fit.html"), random_seed=1)
    reader = Reader(path.read_text(encoding="utf-8"))
    assert "The posterior" not in reader.words
    boxes = [attrs for tag, attrs in reader.tags if tag == "rect"]
    assert len(boxes) == len(est.model.named_vars)
    # Residuals and starts
    assert sum(attrs.get("src", "").startswith("data:image/png") for _, attrs in reader.tags) == 2


def test_a_posterior_of_other_data_leaves_no_page(est, idata, tmp_path):
    other = idata.copy()
    other["observed_data"]["y"] = other["observed_data"]["y"] + 1
    with pytest.raises(mle.ModelError, match="y differs"):
        mle.report(est, other, tmp_path / "fit.html")
    assert not (tmp_path / "fit.html").exists()


def test_examples_in_docstrings():
    assert doctest.testmod(sys.modules["mle_pp.page"]).failed == 0
