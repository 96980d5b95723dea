"""What a comparison is asked for: its rows by name, their configuration, and what is refused."""

import pytest

from pipelines.comparison import driving
from pipelines.comparison.record import load_record, save_record
from pipelines.comparison.rows import CONF, FILE, load_rows, plan_comparison
from pipelines.errors import Interrupted, UserError
from pipelines.store.files import Store
from pipelines.workflow.graph import build_workflow
from pipelines.workflow.identity import identify

pytestmark = pytest.mark.unit


def fingerprints(entry, store):
    stages = build_workflow(entry.config)
    return {name: identity.fingerprint for name, identity in identify(stages, entry.config, store).items()}


def test_every_row_of_conf_is_a_configuration_and_differs_from_what_it_is_held_against(tmp_path):
    rows = load_rows({}, None).rows
    names = [name for name in rows if name != "pretrained"]
    plan = plan_comparison(["preset=tiny", f"store={tmp_path}", "spaces=[rae_hd]", f"controls=[{','.join(names)}]"])
    configs = {entry.name: entry.config for entry in plan.entries}
    assert set(configs) == set(names)
    for name, row in rows.items():
        if row.against:
            assert configs[name] != configs[row.against], name
    assert configs["mlp"].tokenizer.model.pixel_channels == configs["plain"].tokenizer.model.pixel_channels == 0
    assert configs["kl_vae"].tokenizer.pixel_decoder.width == 32 and configs["shift_1"].generator.flow.shift == 1


def test_rows_of_other_channel_counts_start_from_patch_pca_only_where_the_shared_configuration_does(tmp_path):
    for preset, pixel_channels in (("scenes_small", (27, 80)), ("plain", (0, 0))):
        arguments = [
            f"preset={preset}",
            f"store={tmp_path}",
            "spaces=[ps_vae]",
            "controls=[channels_32_large,channels_96]",
        ]
        configs = {entry.name: entry.config for entry in plan_comparison(arguments).entries}
        found = [
            configs[name].tokenizer.model.pixel_channels for name in ("channels_32", "channels_32_large", "channels_96")
        ]
        assert found == [pixel_channels[0], *pixel_channels]
        assert configs["channels_32_large"].generator.small.width > configs["channels_32"].generator.small.width
        assert configs["channels_96"] == configs["ps_vae"]


def test_rows_share_every_stage_in_which_they_do_not_differ(tmp_path):
    store = Store(str(tmp_path))
    asked = ["preset=tiny", f"store={tmp_path}", "spaces=[ps_vae,s_vae,rae]", "controls=[shift_1]", "seeds=[0,1]"]
    plan = plan_comparison(asked)
    assert [entry.key for entry in plan.entries] == [
        f"{name}/{seed}" for name in ("ps_vae", "s_vae", "rae", "shift_1") for seed in (0, 1)
    ]
    found = {entry.key: fingerprints(entry, store) for entry in plan.entries if entry.seed == 0}
    ps_vae = found["ps_vae/0"]

    def shared(name):
        return [stage for stage, value in found[f"{name}/0"].items() if value == ps_vae[stage]]

    pairs = ["synthesize_edits", "measure_pairs", "curate_pairs"]
    data = ["ingest", "measure", "curate", *pairs, "index", "train_encoder"]
    assert shared("rae") == data
    assert shared("s_vae") == [*data, "train_semantic"]
    assert shared("shift_1") == [
        *data,
        "train_semantic",
        "train_tokenizer",
        "encode_latents",
        "index_latents",
        "evaluate_tokenizer",
    ]


def test_a_control_brings_the_row_it_is_held_against_and_a_row_added_later_joins_the_same_comparison():
    first = plan_comparison(["preset=tiny", "spaces=[ps_vae]"])
    later = plan_comparison(["preset=tiny", "spaces=[]", "controls=[mlp]"])
    assert [entry.name for entry in later.entries] == ["ps_vae", "plain", "mlp"]
    other = plan_comparison(["preset=tiny", "spaces=[pretrained]", "tokenizer.model.pretrained=/an/autoencoder"])
    assert first.id == later.id == other.id
    assert other.entries[0].config.tokenizer.model.pretrained == "/an/autoencoder"
    assert plan_comparison(["preset=tiny", "image_size=64", "encoder.small.patch=16"]).id != first.id


def test_the_budget_is_a_share_of_every_trainings_steps_after_the_encoder():
    (whole,) = plan_comparison(["spaces=[ps_vae]"]).entries
    (half,) = plan_comparison(["spaces=[ps_vae]", "budget=0.5"]).entries
    for section in ("semantic", "training"):
        assert getattr(half.config.tokenizer, section).steps == getattr(whole.config.tokenizer, section).steps / 2
    for section in ("training", "editing"):
        mine, theirs = getattr(half.config.generator, section), getattr(whole.config.generator, section)
        assert (mine.steps, mine.sample_every) == (theirs.steps / 2, theirs.sample_every / 2)
    assert half.config.encoder == whole.config.encoder


def test_a_users_rows_join_ours(tmp_path):
    (tmp_path / FILE).write_text(
        "rows:\n  small_dose:\n    kind: control\n    what: less of the semantic loss\n    against: ps_vae\n"
        "    settings: {tokenizer.model.space: ps_vae, tokenizer.losses.semantic: 0.05}\n"
    )
    plan = plan_comparison(["preset=tiny", "spaces=[]", "controls=[small_dose]"], str(tmp_path))
    assert [entry.name for entry in plan.entries] == ["ps_vae", "small_dose"]
    assert plan.entries[1].config.tokenizer.losses.semantic == 0.05


def test_a_row_that_is_defined_otherwise_has_lost_its_run(tmp_path):
    store, plan = Store(str(tmp_path)), plan_comparison(["preset=tiny", "spaces=[ps_vae,rae]"])
    record = load_record(store, plan)
    for entry in record.entries.values():
        entry.run = "20260101-000000-000"
    record.entries["rae/0"].settings = {"tokenizer.model.space": "rae", "generator.flow.shift": 2.0}
    save_record(store, record)
    again = load_record(store, plan)
    assert (again.entries["ps_vae/0"].run, again.entries["rae/0"].run) == ("20260101-000000-000", "")
    assert again.created == record.created


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["spaces=[ps_vea]"], "did you mean 'ps_vae'?"),
        (["spaces=[mlp]"], "no space 'mlp'"),
        (["controls=[shift1]"], "did you mean 'shift_1'?"),
        (["space=[rae]"], "did you mean 'spaces'?"),
        (["spaces=[]"], "nothing to compare"),
        (["budget=0"], "budget: Input should be greater than 0"),
        (["seeds=[-1]"], "seeds.0"),
        (["seeds=[]"], "seeds"),
        (["seed=3"], "in a comparison seeds=[...] says it"),
        (["tokenizer.model.space=rae"], "in a comparison spaces=[...] says it"),
        (["generator.flow.shft=1"], "did you mean 'generator.flow.shift'?"),
        (["spaces=[pretrained]"], "row pretrained of compare.yaml"),
    ],
)
def test_what_cannot_be_compared_is_refused_with_the_nearest_name(arguments, words):
    with pytest.raises(UserError) as caught:
        plan_comparison(arguments)
    assert words in str(caught.value)


def test_a_users_file_is_refused_for_a_key_it_cannot_have(tmp_path):
    (tmp_path / FILE).write_text("row: {}\n")
    with pytest.raises(UserError, match="did you mean 'rows'"):
        load_rows({}, str(tmp_path))
    (tmp_path / FILE).write_text("rows: {odd: {kind: control, what: odd, agianst: rae}}\n")
    with pytest.raises(UserError, match=r"rows\.odd\.agianst"):
        load_rows({}, str(tmp_path))
    (tmp_path / FILE).write_text("rows: [odd]\n")
    with pytest.raises(UserError, match="rows must be a map of names to rows"):
        load_rows({}, str(tmp_path))


def test_rows_that_are_held_against_each_other_in_a_circle_are_refused(tmp_path):
    rows = "{one: {kind: control, what: one, against: two}, two: {kind: control, what: two, against: one}}"
    (tmp_path / FILE).write_text(f"rows: {rows}\n")
    with pytest.raises(UserError, match="in a circle: one -> two -> one"):
        load_rows({}, str(tmp_path))
    (tmp_path / FILE).write_text("rows: {one: {kind: control, what: one, against: one}}\n")
    with pytest.raises(UserError, match="in a circle: one -> one"):
        load_rows({}, str(tmp_path))
    assert (CONF / FILE).is_file()


def test_a_stopped_comparison_says_that_the_same_command_goes_on(tmp_path, monkeypatch):
    def stopped(*_, **__):
        raise Interrupted(2)

    monkeypatch.setattr(driving, "run_new", stopped)
    plan = plan_comparison(["preset=tiny", f"store={tmp_path}/store"], None)
    with pytest.raises(Interrupted) as caught:
        driving.drive(Store(plan.base.store), plan, True)
    assert (caught.value.signal_number, caught.value.again) == (2, "the same pixsem compare again")
