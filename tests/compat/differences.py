"""The deliberate differences from torch: one table, which docs/coming_from_torch.md repeats row by row."""

from typing import Any, NamedTuple

import numpy as np

INF, NAN = np.inf, np.nan
REFUSED = "raises"


class Difference(NamedTuple):
    """One call that torch and jaxinfo answer differently.

    Attributes:
        what: as the first column of the table in the docs says it.
        function: the name both have.
        args: the arguments: floats become float32 arrays, nested ones too.
        kwargs: the keyword arguments, likewise.
        torch: torch's answer, or REFUSED.
        ours: jaxinfo's, or REFUSED.
        issues: torch's issue numbers, where known.
        gradient: the argument whose gradient of the sum is meant; None for the value.
    """

    what: str
    function: str
    args: tuple
    kwargs: dict[str, Any]
    torch: Any
    ours: Any
    issues: tuple[int, ...] = ()
    gradient: int | None = None


def f32(*values: Any) -> np.ndarray:
    return np.array(values, np.float32)


def i64(*values: Any) -> np.ndarray:
    return np.array(values, np.int64)


ROW = f32([0, 1, -INF])  # one example whose third class does not exist
LOG_P0 = 1.3132616875182228  # log(1 + e): the loss of its first class
LN2 = float(np.log(2))
NONE = {"reduction": "none"}

DIFFERENCES = (
    Difference(
        "a -inf class under label smoothing",
        "cross_entropy",
        (ROW, i64(0)),
        {"label_smoothing": 0.1},
        INF,
        0.95 * LOG_P0 + 0.05 * (LOG_P0 - 1),
    ),
    Difference(
        "the same with weight 0 on that class",
        "cross_entropy",
        (ROW, i64(0)),
        {"label_smoothing": 0.1, "weight": f32(1, 1, 0)},
        NAN,
        0.95 * LOG_P0 + 0.05 * (LOG_P0 - 1),
    ),
    Difference("a -inf class with target probability 0", "cross_entropy", (ROW, f32([1, 0, 0])), {}, NAN, LOG_P0),
    Difference(
        "a target of weight 0 and probability 0",
        "cross_entropy",
        (ROW, i64(2)),
        {"weight": f32(1, 1, 0), "reduction": "sum"},
        NAN,
        0.0,
    ),
    Difference(
        "a target of weight 0 and probability 0",
        "nll_loss",
        (ROW, i64(2)),
        {"weight": f32(1, 1, 0), "reduction": "sum"},
        NAN,
        0.0,
    ),
    Difference(
        "weights that sum to 0", "nll_loss", (f32([-1, -2]), i64(1), f32(1, 0)), {}, [[0.0, NAN]], [[0.0, 0.0]], (), 0
    ),
    Difference(
        "weights that sum to 0",
        "cross_entropy",
        (f32([1, 2]), i64(1), f32(1, 0)),
        {},
        [[NAN, NAN]],
        [[0.0, 0.0]],
        (),
        0,
    ),
    Difference("one logit of +inf", "cross_entropy", (f32([INF, 1]), i64(0)), {}, NAN, 0.0),
    Difference("one logit of +inf", "log_softmax", (f32(INF, 0), 0), {}, [NAN, NAN], [0.0, -INF]),
    Difference("one logit of +inf", "softmax", (f32(INF, 0), 0), {}, [NAN, NAN], [1.0, 0.0]),
    Difference("one logit of +inf", "logsumexp", (f32(INF, 0), 0), {}, [NAN, 0.0], [1.0, 0.0], (), 0),
    Difference(
        "an ignored row of -inf",
        "cross_entropy",
        (f32([-INF, -INF], [0, 0]), i64(-100, 0)),
        {},
        [[NAN, NAN], [-0.5, 0.5]],
        [[0.0, 0.0], [-0.5, 0.5]],
        (11551,),
        0,
    ),
    Difference("a row of -inf", "logsumexp", (f32(-INF, -INF), 0), {}, [NAN, NAN], [0.0, 0.0], (), 0),
    Difference("a confident prediction", "cross_entropy", (f32([20, 0]), i64(0)), {}, 0.0, 2.0611536203e-09, (113708,)),
    Difference(
        "a confident prediction", "log_softmax", (f32(30, 0), 0), {}, [0.0, -30.0], [-9.357623e-14, -30.0], (113708,)
    ),
    Difference(
        "a mean of half precision losses whose sum overflows",
        "cross_entropy",
        (np.tile(np.array([0, 30], np.float16), (4096, 1)), np.zeros(4096, np.int64)),
        {},
        INF,
        30.0,
        (85791,),
    ),
    Difference("p = 0 with log q = -inf", "kl_div", (f32(0, -INF), f32(1, 0)), {"reduction": "sum"}, NAN, 0.0),
    Difference(
        "log p = -inf with `log_target`",
        "kl_div",
        (f32(0, -1), f32(0, -INF)),
        {"reduction": "sum", "log_target": True},
        NAN,
        0.0,
    ),
    Difference("p = 0", "kl_div", (f32(0, -1), f32(1, 0)), {"reduction": "sum"}, [1.0, NAN], [1.0, 0.0], (89558,), 1),
    Difference(
        "logits of +inf and -inf",
        "binary_cross_entropy_with_logits",
        (f32(INF, -INF, INF, -INF), f32(1, 0, 0, 1)),
        NONE,
        [NAN, NAN, INF, NAN],
        [0.0, 0.0, INF, INF],
        (49844, 102894, 135359),
    ),
    Difference("a rate of 0", "poisson_nll_loss", (f32(-INF, -INF), f32(0, 2)), NONE, [NAN, INF], [0.0, INF]),
    Difference("a rate of 0", "poisson_nll_loss", (f32(0), f32(0)), {"log_input": False, "eps": 0.0}, NAN, 0.0),
    Difference("a count of 0 with `full`", "poisson_nll_loss", (f32(1), f32(0)), {"full": True}, [NAN], [-1.0], (), 1),
    Difference("an infinite rate", "poisson_nll_loss", (f32(INF, INF), f32(0, 2)), NONE, [NAN, NAN], [INF, INF]),
    Difference(
        "a variance of 0 with `eps` 0",
        "gaussian_nll_loss",
        (f32(1, 1), f32(1, 2), f32(0, 0)),
        {"eps": 0.0, "reduction": "none"},
        [NAN, NAN],
        [-INF, INF],
    ),
    Difference(
        "weight 0 at an infinite logit",
        "binary_cross_entropy_with_logits",
        (f32(INF, -INF), f32(0, 1), f32(0, 0)),
        NONE,
        [NAN, NAN],
        [0.0, 0.0],
    ),
    Difference(
        "weight 0 at an infinite logit",
        "binary_cross_entropy_with_logits",
        (f32(-INF), f32(1)),
        {"pos_weight": f32(0), "reduction": "none"},
        [NAN],
        [0.0],
    ),
    Difference(
        "a certain outcome",
        "binary_cross_entropy",
        (f32(0, 1), f32(0, 1)),
        {"reduction": "sum"},
        [INF, -INF],
        [100.0, -100.0],
        (),
        1,
    ),
    Difference("an index outside [0, C)", "cross_entropy", (f32([0, 1]), i64(7)), {}, REFUSED, NAN, (66076,)),
    Difference("an index outside [0, C)", "nll_loss", (f32([0, 1]), i64(-1)), {}, REFUSED, NAN, (66076,)),
    Difference("a probability outside [0, 1]", "binary_cross_entropy", (f32(1.5), f32(1)), {}, REFUSED, NAN),
    Difference("a target outside [0, 1]", "binary_cross_entropy", (f32(0.5), f32(2)), {}, REFUSED, LN2),
    Difference("an array with a negative variance", "gaussian_nll_loss", (f32(0), f32(0), f32(-1)), {}, REFUSED, NAN),
    Difference(
        "indices of any integer dtype",
        "cross_entropy",
        (f32([0, 0]), np.array([0], np.int32)),
        {},
        REFUSED,
        LN2,
        (45540, 59765),
    ),
    Difference(
        "uint8 indices on several axes",
        "cross_entropy",
        (np.zeros((1, 2, 1), np.float32), np.zeros((1, 1), np.uint8)),
        {},
        REFUSED,
        LN2,
    ),
    Difference("integer or bool outcomes", "binary_cross_entropy", (f32(0.5), i64(1)), {}, REFUSED, LN2),
    Difference(
        "integer or bool outcomes", "binary_cross_entropy_with_logits", (f32(0.0), np.array([True])), {}, REFUSED, LN2
    ),
    Difference("bools as numbers", "poisson_nll_loss", (f32(0.0), np.array([True])), {"full": True}, REFUSED, 1.0),
    Difference("bools as numbers", "gaussian_nll_loss", (f32(1.0), np.array([True]), 1.0), {}, REFUSED, 0.0),
    Difference(
        "a variance that is a scalar array",
        "gaussian_nll_loss",
        (f32([0, 2]), f32([0, 0]), np.array(1, np.float32)),
        NONE,
        REFUSED,
        [[0.0, 2.0]],
    ),
    Difference(
        "input and head of different dtypes",
        "linear_cross_entropy",
        (f32([0, 0]), np.zeros((2, 2), np.float64), i64(0)),
        {},
        REFUSED,
        LN2,
    ),
    Difference("no axes to sum over", "logsumexp", (f32(1, 2), ()), {}, REFUSED, [1.0, 2.0]),
    Difference("a target of shape (1,) for one example", "cross_entropy", (f32(0, 0), i64(0)), {}, LN2, REFUSED),
    Difference("a target of shape (1,) for one example", "nll_loss", (f32(-1, -2), i64(1)), {}, 2.0, REFUSED),
    Difference(
        "input and target of different dtypes",
        "binary_cross_entropy",
        (f32(0.5), np.array([1.0], np.float64)),
        {},
        REFUSED,
        LN2,
    ),
    Difference(
        "the gradient to `weight`",
        "cross_entropy",
        (f32([0, 0]), i64(0), f32(2, 3)),
        {"reduction": "sum"},
        REFUSED,
        [LN2, 0.0],
        (),
        2,
    ),
)
