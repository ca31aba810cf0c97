"""Reading by content, with its derivatives: `equations.sparse` for tensors of a step, in few operations."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from graves_memory.equations.addressing import EPSILON
from graves_memory.layers.sparse.tape import Tape

Heads = Float[Tensor, "batch heads width"]
Kept = Float[Tensor, "batch heads reads"]


class Content(NamedTuple):
    """What heads have read, and what the backward pass needs of it.

    Args:
        read: r, for each head.
        weights: w_R.
        cosines: of queries and rows.
        words: the rows.
        lengths: one by the length of each row.
        query_lengths: one by the length of each query.
    """

    read: Heads
    weights: Kept
    cosines: Kept
    words: Float[Tensor, "chains reads width"]
    lengths: Kept
    query_lengths: Float[Tensor, "batch heads 1"]


def read_content(
    tape: Tape,
    places: Int64[Tensor, " numbers"],
    queries: Heads,
    strengths: Float[Tensor, "batch heads 1"] | None,
) -> Content:
    """softmax of strength times cosine over a few rows, and the sum of the rows with these weights.

    Args:
        tape: the memory.
        places: of the rows of all heads, in the matrix of all rows.
        queries: one for each head.
        strengths: beta; 1 if None.
    """
    batch, heads, width = queries.shape
    chains = batch * heads
    words = tape.memory.index_select(0, places).view(chains, -1, width)
    lengths = tape.lengths.index_select(0, places).view(batch, heads, -1)
    flat = queries.reshape(chains, width, 1)
    query_lengths = queries.square().sum(2, keepdim=True).add_(EPSILON).rsqrt_()
    cosines = torch.bmm(words, flat).view(batch, heads, -1).mul_(lengths).mul_(query_lengths)
    weights = (cosines if strengths is None else cosines * strengths).softmax(2)
    read = torch.bmm(weights.view(chains, 1, -1), words).view(batch, heads, width)
    return Content(read, weights, cosines, words, lengths, query_lengths)


def content_gradients(
    content: Content,
    queries: Heads,
    strengths: Float[Tensor, "batch heads 1"] | None,
    of_read: Heads,
    of_weights: Kept | None,
) -> tuple[Heads, Float[Tensor, "batch heads 1"] | None, Float[Tensor, "numbers width"]]:
    """The derivatives by queries, strengths and rows.

    Args:
        content: what was read.
        queries: as in `read_content`.
        strengths: as in `read_content`.
        of_read: the derivative by r.
        of_weights: the derivative by w_R.
    """
    _, weights, cosines, words, lengths, query_lengths = content
    batch, heads, width = queries.shape
    chains = batch * heads
    column = of_read.reshape(chains, width, 1)
    through = torch.bmm(words, column).view_as(weights)
    if of_weights is not None:
        through += of_weights
    through *= weights
    of_scores = torch.addcmul(through, weights, through.sum(2, keepdim=True), value=-1)
    of_cosines = of_scores if strengths is None else of_scores * strengths
    turned = of_cosines * cosines
    of_strengths = None if strengths is None else (of_scores * cosines).sum(2, keepdim=True)
    factors = (of_cosines * lengths).mul_(query_lengths)
    shrink = turned.sum(2, keepdim=True).mul_(query_lengths.square())
    of_queries = torch.bmm(factors.view(chains, 1, -1), words).view(batch, heads, width)
    of_queries = torch.addcmul(of_queries, shrink, queries, value=-1)
    left = torch.stack((weights, factors), 3).view(chains, -1, 2)
    right = torch.stack((of_read, queries), 2).view(chains, 2, width)
    of_words = torch.bmm(left, right)
    of_words.addcmul_(words, turned.mul_(lengths.square()).view(chains, -1, 1), value=-1)
    return of_queries, of_strengths, of_words.view(-1, width)
