"""Losses of large vocabularies from hidden states and an output kernel, never holding the logits [N, V].

A head's classes are gone over in blocks (`_blocks`, `_products`, `_head`, `_fold`); every loss is a formula in a few
numbers of each row (`_rows`, `_cross_entropy`), or for two heads in sums over their classes (`_pair`). Derivatives
make the blocks again: lean in reverse mode (`_reverse`), of every mode and order (`_any`), or formed at once where
the weights of a sum are known (`_tokens`). `_shards` joins the rows of classes that lie on several devices;
`_strategy` chooses; `_reference` is the same in a few plain lines.
"""

from jaxinfo.linear._divergences import linear_js_divergence as linear_js_divergence
from jaxinfo.linear._divergences import linear_kl_divergence as linear_kl_divergence
from jaxinfo.linear._loss import linear_softmax_cross_entropy as linear_softmax_cross_entropy
from jaxinfo.linear._statistics import TokenStatistics as TokenStatistics
from jaxinfo.linear._statistics import linear_token_statistics as linear_token_statistics
