"""Losses of large vocabularies from hidden states and an output kernel, never holding [N, V]."""

from jaxinfo.linear._loss import linear_softmax_cross_entropy as linear_softmax_cross_entropy
