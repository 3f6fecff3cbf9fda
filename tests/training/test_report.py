from __future__ import annotations

import base64
import dataclasses
import io
import re
from html.parser import HTMLParser
from xml.etree import ElementTree as ET

import cv2
import numpy as np
import pytest
import score_tables as made
from rich.console import Console
from sklearn.metrics import roc_auc_score

from training.corpus import read_corpus
from training.evaluation import evaluate
from training.evaluation.charts import Curve, confusion_matrix, plain, reliability, roc, roc_chart
from training.evaluation.mistakes import picture_of, worst_mistakes
from training.evaluation.summary import tables
from training.report import page

VOID = {"meta", "img", "br"}


class Balanced(HTMLParser):
    """Fails where an element is closed that is not open, collects every address."""

    def __init__(self):
        super().__init__()
        self.open, self.addresses, self.seen = [], [], set()

    def handle_starttag(self, tag, attrs):
        self.seen.add(tag)
        self.addresses += [value for name, value in attrs if name in {"src", "href"}]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.seen.add(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def parsed(html):
    parser = Balanced()
    parser.feed(html)
    assert parser.open == []
    return parser


@pytest.fixture(scope="module")
def evaluation():
    return evaluate(made.judged_cohorts(lead=2.0))


def test_the_page_stands_alone_and_says_what_it_is(evaluation):
    html = page(evaluation, "split test", [(m, None) for m in worst_mistakes(evaluation.table)])
    found = parsed(html)
    assert not {"script", "link", "iframe"} & found.seen
    assert found.addresses == []
    assert "url(" not in html
    assert "Decision support, never a diagnosis." in html
    accuracy = evaluation.rows["all"].heads["multiclass"].figures["accuracy", ""]
    assert f"<b>{accuracy.value:.3f}</b><small>[{accuracy.low:.3f}, {accuracy.high:.3f}]" in html
    for word in ("Confusion", "ROC", "Reliability", "size 0", "What may be claimed", "ab" * 32, "cd" * 32):
        assert word in html.replace("<br>", " "), word


def test_no_patient_is_named_and_what_a_manifest_says_is_text(evaluation):
    cases = tuple(
        dataclasses.replace(case, patient=f"secret-{i}", source="<b>&source", file=f"<i>{i}.png")
        for i, case in enumerate(evaluation.table.cases)
    )
    html = page(
        evaluate(dataclasses.replace(evaluation.table, cases=cases)),
        "split test",
        [(dataclasses.replace(m, case=cases[0]), None) for m in worst_mistakes(evaluation.table)[:2]],
    )
    parsed(html)
    assert "secret" not in html
    assert "<b>&source" not in html
    assert "&lt;b&gt;&amp;source" in html
    assert "&lt;i&gt;0.png" in html


def test_without_baselines_and_mistakes_the_page_says_so():
    table = made.judged_cohorts(lead=30.0).with_baselines([])
    html = page(evaluate(table), "split test", [])
    parsed(html)
    assert "No trivial baseline was measured" in html
    assert "no film was taken for another class" in html
    assert "supported" not in html


def test_one_class_alone_can_be_reported():
    html = page(evaluate(made.binary(*[("covid19", 0.7)] * 4)), "all films", [])
    parsed(html)
    assert '<td class="none">-</td>' in html


def test_the_roc_curve_has_the_area_of_the_figure():
    rng = np.random.default_rng(0)
    positive, scores = rng.random(200) < 0.3, rng.integers(0, 20, 200) / 20
    points = roc(scores + 0.2 * positive, positive)
    assert points[0].tolist() == [0, 0]
    assert points[-1].tolist() == [1, 1]
    assert (np.diff(points, axis=0) >= 0).all()
    area = np.trapezoid(points[:, 1], points[:, 0])
    assert area == pytest.approx(roc_auc_score(positive, scores + 0.2 * positive))


def test_charts_are_well_formed_and_inside_their_frame(evaluation):
    judged = evaluation.rows["all"].heads["multiclass"].judged
    curve = Curve(points=roc(judged.probabilities[:, 0], judged.true == 0), name="a < b", look="model")
    for chart in (roc_chart("all & more", [curve], (0.1, 0.9)), reliability("all", judged)):
        root = ET.fromstring(chart)  # noqa: S314 - made here
        for circle in root.iter("circle"):
            assert 0 < float(circle.get("cx")) < float(root.get("width"))
            assert 0 < float(circle.get("cy")) < float(root.get("height"))


def test_the_confusion_matrix_counts_by_true_class():
    cases = tuple(
        made.case(i, label) for i, label in enumerate(("covid19", "covid19", "bacterial_pneumonia"))
    )
    head = made.scores("binary", made.HEADS["binary"], [[0.9, 0.1], [0.2, 0.8], [0.3, 0.7]])
    judged = evaluate(made.table(cases, (head,))).rows["all"].heads["binary"].judged
    cells = re.findall(r'<td class="(\w+)"[^>]*>(\d+)<', confusion_matrix(judged))
    assert cells == [("right", "1"), ("wrong", "1"), ("wrong", "0"), ("right", "1")]


def test_names_are_spoken():
    names = ("auroc", "covid19", "cohort=adult", "balanced_accuracy", "source=kermany-paediatric")
    assert [plain(name) for name in names] == [
        "AUROC",
        "COVID-19",
        "adult",
        "balanced accuracy",
        "kermany-paediatric",
    ]


def test_the_worst_mistake_is_the_surest():
    cases = tuple(made.case(i, "covid19") for i in range(4))
    shares = [[0.1, 0.2, 0.7], [0.6, 0.2, 0.2], [0.0, 0.9, 0.1], [0.3, 0.4, 0.3]]
    table = made.table(cases, (made.scores("multiclass", made.HEADS["multiclass"], shares),))
    worst = worst_mistakes(table, most=2)
    assert [(m.case.file, m.decided, m.score) for m in worst] == [
        ("2.png", "bacterial_pneumonia", 0.9),
        ("0.png", "normal", 0.7),
    ]


def test_a_class_for_all_else_can_be_mistaken_too():
    cases = (made.case(0, "normal"), made.case(1, "bacterial_pneumonia"), made.case(2, "covid19"))
    head = made.scores("covid", ("covid19", "not_covid19"), [[0.9, 0.1], [0.1, 0.9], [0.2, 0.8]])
    found = worst_mistakes(made.table(cases, (head,)))
    assert [(m.case.file, m.decided, m.true_score) for m in found] == [
        ("0.png", "covid19", 0.1),
        ("2.png", "not_covid19", 0.2),
    ]


def test_the_map_lies_where_it_was_given(corpus):
    films = read_corpus(corpus)
    film = films[0]
    mistake = dataclasses.replace(
        worst_mistakes(made.judged_cohorts(lead=0.0))[0], case=made.case(0, film.label, file=film.file)
    )

    def left_half(film, head, label):
        assert (head, label) == (mistake.head, mistake.decided)
        heat = np.zeros(film.pixels.shape, np.float32)
        heat[:, : heat.shape[1] // 2] = 1
        return heat

    picture = picture_of(mistake, films, left_half)
    plain_film, mapped = (
        cv2.imdecode(np.frombuffer(base64.b64decode(a.partition(",")[2]), np.uint8), cv2.IMREAD_COLOR)
        for a in (picture.film, picture.map)
    )
    difference = np.abs(mapped.astype(int) - plain_film).sum(axis=2)
    middle = difference.shape[1] // 2
    assert difference[:, : middle - 8].mean() > 20 * difference[:, middle + 8 :].mean()
    assert picture_of(mistake, films, None).map is None
    assert picture_of(mistake, films[1:], None) is None


def test_the_tables_show_every_row_with_its_best_baseline(evaluation):
    console = Console(width=200, record=True, file=io.StringIO())
    for table in tables(evaluation):
        console.print(table)
    text = console.export_text()
    for word in (
        "all",
        "adult",
        "paediatric",
        "kermany-paediatric",
        "size",
        "lead +",
        "binary",
        "multiclass",
    ):
        assert word in text
    accuracy = evaluation.rows["all"].heads["binary"].figures["accuracy", ""]
    assert f"{accuracy.low:.3f}-{accuracy.high:.3f}" in text
