"""Plans for cards that are not here: from a config alone, by card, and on the command line."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForSeq2SeqLM, BartConfig, BertConfig, PegasusConfig, T5Config

from hf_monitor.auto_batch import offline
from hf_monitor.auto_batch.cards import CARDS, Card, card_named, card_of, parse_memory_mib, usable_bytes
from hf_monitor.auto_batch.estimate import Estimator
from hf_monitor.auto_batch.fake import has_own_head
from hf_monitor.auto_batch.known_configs import known_names
from hf_monitor.auto_batch.offline import card_plans, load_config
from hf_monitor.auto_batch.plan_device import NOT_IN_FP16
from hf_monitor.auto_batch.shapes import StepSettings
from hf_monitor.cli import main
from hf_monitor.errors import InputError
from hf_monitor.gpu.tiers import tier_of
from hf_monitor.seq2seq.batches import Lengths

pytestmark = pytest.mark.filterwarnings("ignore:.*gradient_checkpointing.*is deprecated:FutureWarning")

SIZES = {"vocab_size": 400, "d_model": 64, "d_ff": 128, "d_kv": 16, "num_layers": 1, "num_heads": 4}
SIZES |= {"decoder_start_token_id": 0, "pad_token_id": 0}
CONFIG = T5Config(**SIZES)
SOURCE = ["--source_length", "64", "--target_length", "16"]


@pytest.fixture
def folder(tmp_path):
    """A folder with a config.json and no weights."""
    CONFIG.save_pretrained(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]
    return str(tmp_path)


@pytest.fixture(autouse=True)
def shared_estimators(monkeypatch):
    """One estimator for the same question, over all tests: a fake step is what takes time."""

    def shared(config, *question):
        key = (config.to_json_string(), repr(question))
        if key not in ESTIMATORS:
            ESTIMATORS[key] = real(config, *question)
        return ESTIMATORS[key]

    real = offline._estimator
    monkeypatch.setattr(offline, "_estimator", shared)


ESTIMATORS: dict = {}


def test_the_cards_are_those_that_were_seen():
    seen = Path(__file__).parents[1] / "gpu" / "cards.csv"
    lines = csv.DictReader(seen.read_text(encoding="utf-8").splitlines())
    rows = {(row["name"], int(row["memory_mib"])): row["tier"] for row in lines}
    for card in CARDS:
        full = card.name if card.name.startswith("Tesla") else f"NVIDIA {card.name}"
        assert rows[full, card.memory_mib] == tier_of(card.name, card.memory_mib).tier.name


PARAMETERS_M = {  # as published: the papers, and the models' pages on the hub
    "google-t5/t5-small": 60.5,
    "google-t5/t5-base": 222.9,
    "google-t5/t5-large": 737.7,
    "google/mt5-small": 300.2,
    "google/mt5-base": 582.4,
    "facebook/bart-base": 139.4,
    "facebook/bart-large": 406.3,
    "gogamza/kobart-base-v2": 123.9,
}


@pytest.mark.no_cover
def test_the_known_models_have_their_published_number_of_parameters():
    assert set(known_names()) == set(PARAMETERS_M)
    for name, expected in PARAMETERS_M.items():
        config = load_config(name)
        with torch.device("meta"):
            count = AutoModelForSeq2SeqLM.from_config(config).num_parameters()
        count += config.vocab_size * config.d_model if has_own_head(config) else 0
        assert count / 1e6 == pytest.approx(expected, rel=0.002), name


def test_a_card_is_found_by_the_words_of_its_name():
    assert card_named("RTX 3060").memory_mib == 12288
    assert card_named("nvidia t4").name == "Tesla T4"
    for name in ("RTX3060", "rtx 3060 12 GB", "NVIDIA GeForce RTX 3060 12GiB"):
        assert card_named(name).name == "GeForce RTX 3060"
    assert card_named("T4 16GB").memory_mib == 15360
    with pytest.raises(InputError, match="more than one card: A100-SXM4-40GB, A100-SXM4-80GB"):
        card_named("A100")
    for name in ("Voodoo 2", "RTX 3060 8GB", "RTX 3060 Ti", "A4"):
        with pytest.raises(InputError, match=r"none of the cards known here.*--memory"):
            card_named(name)


def test_with_its_memory_beside_it_a_card_may_have_any_name():
    assert card_of("RTX3060", 8192) == Card("GeForce RTX 3060", 8192, (8, 6))
    assert card_of("RTX 4060", 8188) == Card("RTX 4060", 8188, (8, 9))
    assert card_of("A100", 61440).capability == (8, 0)
    assert card_of("RTX 6000 Ada Generation", 49140).capability == (8, 9)
    assert card_of("Quadro RTX 6000", 24576).capability == (7, 5)
    assert card_of("Voodoo 2", 12) == Card("Voodoo 2", 12, None)
    for card in CARDS:
        assert card_of(card.name, 1).capability == card.capability
        assert card_of(f"{card.name} of another kind", 1).capability == card.capability  # by its series


@pytest.mark.parametrize(("text", "mib"), [("12GiB", 12288), ("12 GB", 11444), ("8192MiB", 8192), ("1.5gib", 1536)])
def test_memory_is_read_with_its_unit(text, mib):
    assert parse_memory_mib(text) == mib


@pytest.mark.parametrize("text", ["12", "much", "0GiB", "-1GiB"])
def test_memory_without_a_unit_is_refused(text):
    with pytest.raises(InputError, match="12GiB"):
        parse_memory_mib(text)


@pytest.mark.no_cover
def test_precision_goes_by_card_and_family():
    cards = [card_named(name) for name in ("T4", "RTX 3060")]
    t5 = card_plans(CONFIG, Lengths(32, 8), cards, maximum=8)
    assert [plan.precision for plan in t5] == ["fp32", "bf16"]
    assert "overflow in fp16" in t5[0].notes[0]
    (unknown,) = card_plans(CONFIG, Lengths(32, 8), [Card("a card", 8192, None)], maximum=8)
    assert unknown.precision == "bf16"
    assert unknown.notes[0].startswith("bf16 is assumed, the card being unknown")


def test_what_overflows_in_fp16_is_the_same_for_a_card_that_is_not_here():
    assert PegasusConfig.model_type in NOT_IN_FP16
    sizes = {f"{side}_{what}": n for side in ("encoder", "decoder") for what, n in (("layers", 1), ("ffn_dim", 32))}
    heads = {"encoder_attention_heads": 1, "decoder_attention_heads": 1}
    config = PegasusConfig(vocab_size=40, d_model=16, max_position_embeddings=64, **sizes, **heads)
    (plan,) = card_plans(config, Lengths(8, 8), [card_named("T4")], maximum=8)
    assert plan.precision == "fp32"


def test_what_cannot_be_is_refused_before_it_is_estimated(tmp_path, capsys, monkeypatch):
    config = BartConfig(
        vocab_size=40, d_model=16, max_position_embeddings=64, encoder_layers=1, decoder_layers=1,
        encoder_attention_heads=1, decoder_attention_heads=1, encoder_ffn_dim=32, decoder_ffn_dim=32,
    )  # fmt: skip
    config.save_pretrained(tmp_path)
    command = ["plan", "--model", str(tmp_path), "--gpu", "T4"]
    assert main([*command, "--target_length", "65", "--source_length", "64"]) == 2
    assert "target_length 65 (given) is more than the 64 positions of BartForCond" in capsys.readouterr().err
    monkeypatch.setattr(Estimator, "__init__", None)
    for more in (["--num_processes", "3"], ["--num_processes", "3", "--memory", "520MiB"]):
        assert main([*command, *more]) == 2
        assert "an effective_batch_size of 126 or 129" in capsys.readouterr().err
    assert main([*command, "--effective_batch_size", "99999999999999999999"]) == 2
    assert "must be at most 1048576" in capsys.readouterr().err
    for short in ("--optim", "--effective"):  # of another program, or of this one by half
        with pytest.raises(SystemExit):
            main([*command, short, "8"])
        assert f"unrecognized arguments: {short}" in capsys.readouterr().err


@pytest.mark.no_cover
def test_batch_and_accumulation_make_the_effective_batch_and_the_peak_fits():
    cards = [Card("small", 700, (8, 6)), Card("GeForce RTX 3060", 12288, (8, 6))]
    for processes in (1, 2):
        for plan, card in zip(card_plans(CONFIG, Lengths(128, 32), cards, num_processes=processes), cards, strict=True):
            assert plan.batch_size * plan.accumulation * processes == 128
            assert plan.batch_size <= plan.largest_batch_size
            assert plan.peak_mib * 2**20 <= usable_bytes(card.memory_mib) + 2**20


def test_where_nothing_fits_the_remedies_are_named(folder, capsys):
    assert main(["plan", "--model", folder, *SOURCE, "--memory", "520MiB"]) == 1
    out = capsys.readouterr().out
    assert "does not fit" in out
    assert "  7 MiB  " in out  # usable, beside the 520 of the card
    assert "usable: 95% of the memory less 512 MiB" in out
    helps = [line.partition("would help: ")[2] for line in out.splitlines() if "would help: " in line]
    assert any(line.startswith("--source_length 32 --target_length 8: about ") for line in helps)
    assert not any(" 0 MiB less" in line or "--max_source_length" in line for line in helps)


@pytest.mark.no_cover
def test_a_folder_with_nothing_but_a_config_is_planned_for(folder, capsys):
    assert main(["plan", "--model", folder, *SOURCE, "--gpu", "RTX 3060", "--json"]) == 0
    (plan,) = json.loads(capsys.readouterr().out)
    assert (plan["card"], plan["tier"], plan["precision"]) == ("GeForce RTX 3060", "Budget", "bf16")
    assert plan["batch_size"] * plan["accumulation"] == 128


@pytest.mark.no_cover
def test_with_no_card_named_there_is_a_table_over_all(folder, capsys):
    assert main(["plan", "--model", f"{folder}/config.json", *SOURCE]) == 0
    out = capsys.readouterr().out
    assert all(card.name in out for card in CARDS)
    assert "not measured" in out
    assert "tier's ranges yield" not in out


def test_that_tiers_yield_is_said_in_one_line_and_of_each_card_in_json(folder, capsys):
    command = ["plan", "--model", folder, *SOURCE, "--num_processes", "8"]
    assert main(command) == 0
    out = capsys.readouterr().out
    assert out.count("ranges yield") == 1
    assert "* the tier's ranges yield to what fits and what divides; the effective batch stays 128" in out
    assert out.count("* ") == len(CARDS) + 1
    assert main([*command, "--json"]) == 0
    for plan in json.loads(capsys.readouterr().out):
        assert plan["tier_note"].startswith(f"the {plan['tier']} tier prefers")
        assert plan["usable_mib"] == usable_bytes(plan["memory_mib"]) // 2**20


def test_a_model_that_cannot_be_had_says_what_to_do(tmp_path, capsys):
    assert main(["plan", "--model", "someone/unheard-of"]) == 2
    assert "a folder with a config.json" in capsys.readouterr().err
    BertConfig(hidden_size=8, num_attention_heads=1).save_pretrained(tmp_path)
    assert main(["plan", "--model", str(tmp_path)]) == 2
    assert "no sequence-to-sequence model" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["plan", "--model", "t5-small", "--source_length", "0"])


def test_known_names_need_no_network():
    assert load_config("t5-base").d_model == load_config("google-t5/t5-base").d_model == 768


@pytest.mark.no_cover
def test_an_output_layer_of_its_own_is_counted():
    tied, own = (
        Estimator(config, StepSettings(), Lengths(16, 8))
        for config in (CONFIG, T5Config(**SIZES, tie_word_embeddings=False))
    )
    assert own.parts(1).weights - tied.parts(1).weights == 4 * CONFIG.vocab_size * CONFIG.d_model
