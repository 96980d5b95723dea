"""From the figures of recorded runs to tables, curves, pages and verdicts."""

import csv
import io
import json
import statistics

import pytest
from PIL import Image

from pipelines.comparison.page import Picture, build_page, curves_csv, results_csv, summary_csv, to_html, to_markdown
from pipelines.comparison.paper_claims import CLAIMS, Claim, above, claims_page, examine, judge, margin_of
from pipelines.comparison.publishing import draw_curves
from pipelines.comparison.record import Record, Recorded
from pipelines.comparison.results import (
    CurvePoint,
    Result,
    add_equal_seconds,
    columns,
    lower_is_better,
    mean_curves,
    mean_of_curve,
    numbers,
    result_of,
    seconds_of_rows,
    summarise,
)
from pipelines.comparison.standard_errors import judged_counts

pytestmark = pytest.mark.unit
COUNTS = judged_counts(
    json.dumps({"split": split, "category": category, "right": right})
    for split, category, rights in (
        ("held out prompts", "single_object", (True, True)),
        ("held out prompts", "counting", (True, False, None)),  # None: could not be read
        ("edits", "recolour", (True, False)),
        ("checkpoint at 48 samples", "counting", (True,)),
    )
    for right in rights
)


def reported(overall, psnr=30.0):
    """Metrics as a run's report has them, of a small run."""
    return {
        "curation": {"kept": 200},
        "tokenizer": {
            "psnr": psnr,
            "ssim": 0.9,
            "retrieval": 0.25,
            "retrieval_pool": 32,
            "frechet_trained_encoder": 2.5,
            "space": "x",
        },
        "text_to_image": {
            "overall": overall,
            "single_object": 1.0,
            "counting": 2 * overall - 1.0,
            "frechet_trained_encoder": 3.0,
            "frechet_trained_encoder_of_reconstructions": 1.0,
            "checkpoints": {"48": 0.1, "96": overall},
        },
        "editing": {"success": 0.5, "recolour": 0.5, "preservation_psnr": 28.0},
        "absent": {"tokenizer.rfid": "no weights"},
    }


def recorded(row, seed):
    return Recorded(row, seed, "space", f"what {row} is", None, {"tokenizer.model.space": row}, run=f"run-{row}-{seed}")


def result(row, seed, overall, psnr=30.0, rate=10.0):
    seconds = [(0.0, 0.0), (48.0, 48 / rate), (96.0, 96 / rate)]
    return result_of(recorded(row, seed), numbers(reported(overall, psnr)), COUNTS, seconds)


def measured(row, seed, **figures):
    return Result(row, seed, "run", {name.replace("__", "."): value for name, value in figures.items()})


RESULTS = [result("ps_vae", s, 0.8 + s / 100) for s in range(3)] + [
    result("rae", s, 0.6, 20.0, rate=5.0) for s in range(3)
]
RECORD = Record("abc", "now", ["preset=tiny"], 1.0, {f"{r.row}/{r.seed}": recorded(r.row, r.seed) for r in RESULTS})


def test_means_and_spreads_are_over_seeds_and_one_seed_has_no_spread():
    summary = summarise(RESULTS)["ps_vae"]["text_to_image.overall"]
    assert (summary.mean, summary.count) == (pytest.approx(0.81), 3)
    assert summary.spread == pytest.approx(statistics.stdev([0.8, 0.81, 0.82]))
    assert summary.text() == "0.810 ± 0.010"
    alone = summarise(RESULTS[:1])["ps_vae"]["text_to_image.overall"]
    assert alone.spread is None and alone.text() == "0.800"


def test_shares_have_the_standard_errors_of_their_counts():
    # 2 pictures were judged of each category: one of two right is 2/4 by Laplace's rule, both right 3/4.
    found = result("a", 0, 0.75).errors
    assert found["text_to_image.counting"] == pytest.approx((0.5 * 0.5 / 2) ** 0.5)
    assert found["text_to_image.single_object"] == pytest.approx((0.75 * 0.25 / 2) ** 0.5)
    assert found["text_to_image.overall"] == pytest.approx((0.25 / 2 + 0.1875 / 2) ** 0.5 / 2)
    assert "tokenizer.psnr" not in found


def test_seconds_follow_the_rates_whatever_pauses_and_stops_lay_between():
    rows = [
        {"step": 1, "samples": 10, "time": 0.0},  # the first step has no rate yet
        {"step": 2, "samples": 20, "time": 1.0, "samples_per_second": 10.0},
        {"step": 4, "samples": 40, "time": 3.0, "samples_per_second": 10.0},  # lost: the checkpoint was from step 2
        {"step": 3, "samples": 30, "time": 9000.0, "samples_per_second": 5.0},
    ]
    assert seconds_of_rows(rows) == [(10, 1.0), (20, 2.0), (30, 4.0)]
    assert seconds_of_rows([{"step": 1, "samples": 10}]) == []


def test_equal_seconds_are_what_the_quickest_row_took():
    quick, slow = result("quick", 0, 0.8, rate=10.0), result("slow", 0, 0.8, rate=5.0)
    add_equal_seconds([quick, slow])
    assert quick.metrics["convergence.equal_seconds"] == slow.metrics["convergence.equal_seconds"] == pytest.approx(9.6)
    assert quick.metrics["convergence.at_equal_seconds"] == pytest.approx(0.8)
    assert slow.metrics["convergence.at_equal_seconds"] == pytest.approx(
        0.1
    )  # as far as the other was at half its samples
    assert mean_of_curve([(48, 0.1), (96, 0.8)]) == pytest.approx(0.45) == quick.metrics["convergence.mean"]


def test_curves_are_means_over_seeds_at_the_same_samples(tmp_path):
    curves = mean_curves(RESULTS)
    assert [(p.samples, pytest.approx(p.score)) for p in curves["ps_vae"]] == [(48, 0.1), (96, 0.81)]
    assert curves["rae"][-1].seconds == pytest.approx(96 / 5)
    drawn = draw_curves(RESULTS)
    assert set(drawn) == {"by_samples.png", "by_seconds.png"}
    untimed = Result("a", 0, "run", curve=[CurvePoint(1, None, 0.5)])
    assert set(draw_curves([untimed])) == {"by_samples.png"} and draw_curves([]) == {}
    assert Image.open(io.BytesIO(drawn["by_samples.png"])).format == "PNG"


def test_tables_have_the_columns_that_some_row_has_in_the_papers_order():
    summary = summarise(RESULTS)
    assert columns(("tokenizer.psnr", "tokenizer.lpips", "tokenizer.frechet_*"), summary) == [
        "tokenizer.psnr", "tokenizer.frechet_trained_encoder",
    ]  # fmt: skip
    assert columns(("text_to_image.frechet_*",), summary) == ["text_to_image.frechet_trained_encoder"]


def test_the_page_holds_every_table_once_and_the_papers_figures_apart():
    pictures = [Picture("by_samples.png", "Score against samples seen")]
    blocks = build_page(RECORD, RESULTS, {"kl_vae/0": "a <worker> was lost"}, pictures)
    text = to_markdown(blocks)
    assert "| ps_vae | **30.00 ± 0.00** |" in text and "| rae | 20.00 ± 0.00 |" in text
    assert "**0.810 ± 0.010**" in text and "kl_vae/0 (a <worker> was lost)" in text
    ours, papers = text.split("## The paper's own results")
    assert "76.56" in papers and "76.56" not in ours and "2512.17909" in papers
    page = to_html(blocks, {"by_samples.png": b"\x89PNG"})
    assert "src='data:image/png;base64,iVBORw=='" in page
    assert "<worker>" not in page and "&lt;worker&gt;" in page
    assert "<script" not in page and "http" not in page and page.count("<h1>") == 1


def test_csv_holds_every_figure_of_every_run():
    rows = list(csv.DictReader(io.StringIO(results_csv(RESULTS))))
    assert {(r["row"], r["seed"]) for r in rows} == {(r.row, str(r.seed)) for r in RESULTS}
    (row,) = (r for r in rows if (r["row"], r["seed"], r["figure"]) == ("ps_vae", "2", "text_to_image.overall"))
    assert float(row["value"]) == pytest.approx(0.82) and float(row["standard_error"]) > 0
    (mean,) = (
        r
        for r in csv.DictReader(io.StringIO(summary_csv(RESULTS)))
        if (r["row"], r["figure"]) == ("rae", "tokenizer.psnr")
    )
    assert (float(mean["mean"]), mean["seeds"]) == (20.0, "3")
    assert len(list(csv.DictReader(io.StringIO(curves_csv(RESULTS))))) == 12


CLAIM = Claim("a beats b", "", "pixsem compare", (above("a", "b", "m"),))


def test_a_claim_holds_only_where_its_difference_is_above_its_margin_over_seeds():
    steady = [measured(row, s, m=v + s / 10) for row, v in (("a", 0.6), ("b", 0.5)) for s in range(3)]
    assert judge(CLAIM, steady, None)[0] == "holds"  # the seeds differ by more than the rows, which are paired
    noisy = [measured("a", s, m=v) for s, v in enumerate((0.9, 0.3, 0.6))] + [measured("b", s, m=0.5) for s in range(3)]
    verdict, (finding,) = judge(CLAIM, noisy, None)
    assert verdict == "does not hold at this scale"
    assert (
        "a 0.600 ± 0.300" in finding.text and "+0.100, not told apart (margin 0.506: 95 % over 3 seeds)" in finding.text
    )
    turned = [measured("a", 0, m=0.4), measured("b", 0, m=0.5)]
    verdict, (finding,) = judge(CLAIM, turned, None)
    assert verdict == "does not hold at this scale" and "the opposite" in finding.text


def test_one_seed_is_held_to_the_number_of_pictures_judged():
    few = [Result("a", 0, "", {"m": 0.6}, {"m": 0.1}), Result("b", 0, "", {"m": 0.5}, {"m": 0.1})]
    assert examine(CLAIM.contrasts[0], few).shows is False
    many = [Result("a", 0, "", {"m": 0.6}, {"m": 0.01}), Result("b", 0, "", {"m": 0.5}, {"m": 0.01})]
    assert examine(CLAIM.contrasts[0], many).shows is True
    assert margin_of([0.2], 0.0) == (0.0, "one seed, no spread")


def test_scores_of_a_row_whose_tokenizer_shows_few_true_pictures_right_are_no_verdict():
    def judged(metric, ceiling, share):
        figures = [{metric: 0.6, ceiling: 1.0}, {metric: 0.1, ceiling: share}]
        return examine(
            above("a", "b", metric), [Result(row, 0, "", f) for row, f in zip(("a", "b"), figures, strict=True)]
        )

    for metric, ceiling in (
        ("text_to_image.overall", "text_to_image.ceiling.overall"),
        ("convergence.mean", "text_to_image.ceiling.overall"),
        ("editing.success", "editing.ceiling"),
    ):
        finding = judged(metric, ceiling, 0.08)
        assert finding.shows is None and "b shows 0.080 of true pictures right" in finding.text
        assert judged(metric, ceiling, 0.9).shows is True
    assert judged("tokenizer.psnr", "text_to_image.ceiling.overall", 0.08).shows is True  # of the tokenizer itself


def test_nothing_is_judged_that_was_not_measured():
    for results in ([], [measured("a", 0, m=0.9)], [measured("a", 0, m=0.9), measured("b", 1, m=0.1)]):
        verdict, findings = judge(CLAIM, results, None)
        assert verdict == "not tested" and findings[0].shows is None
    page = claims_page("Nothing was run.", [], None)
    assert page.count("**not tested**") == len(CLAIMS) and "**holds**" not in page


def test_the_claims_page_takes_its_figures_from_the_results_and_the_toy():
    curves = {"steps": [5, 10], "2": {"0": [0.3, 0.1], "1": [0.3, 0.12]}, "8": {"0": [0.9, 0.5], "1": [0.9, 0.52]}}
    toy = {
        "worst": {"2": {"0": 0.1, "1": 0.12}, "8": {"0": 0.5, "1": 0.52}},
        "curves": curves,
        "steps": 10,
        "floor": 0.05,
    }
    results = [
        measured(r, s, text_to_image__overall=v + s / 100) for r, v in (("s_vae", 0.5), ("rae", 0.3)) for s in (0, 1)
    ]
    page = claims_page("Two rows.", results, toy)
    assert (
        "after 10 steps: 8-D 0.510 ± 0.014, 2-D 0.110 ± 0.014, fresh data 0.050; 8-D - 2-D = +0.400, as claimed" in page
    )
    assert "over the curve, from 5 to 10 steps: 8-D 0.705 ± 0.007" in page
    assert "| So raw features generate worse than the compact semantic latent | holds |" in page
    assert page.count("**holds**") == 2 and page.count("**not tested**") == len(CLAIMS) - 2
    late = {**toy, "curves": {**curves, "8": {"0": [0.9, 0.1], "1": [0.9, 0.12]}}}  # in the end they are alike
    assert "**does not hold at this scale**" in claims_page("", [], late)
    reverse = {**toy, "curves": {**curves, "2": curves["8"], "8": curves["2"]}}
    assert "**does not hold at this scale**" in claims_page("", [], reverse)


def test_every_claim_names_rows_that_exist():
    from pipelines.comparison.rows import load_rows

    rows = load_rows({}, None).rows
    assert {row for claim in CLAIMS for contrast in claim.contrasts for _, row in contrast.terms} <= set(rows)


def test_a_score_at_equal_seconds_is_better_the_higher_and_seconds_the_lower():
    assert not lower_is_better("convergence.at_equal_seconds") and not lower_is_better("text_to_image.overall")
    assert lower_is_better("convergence.seconds") and lower_is_better("tokenizer.frechet_trained_encoder")
