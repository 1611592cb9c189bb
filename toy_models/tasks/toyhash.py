"""A toy hash: digits are substituted and their bits transposed, a few times in turn.

It is a substitution-permutation network (Shannon 1949; Bogdanov et al. 2007, PRESENT, for a small one): every round
replaces each digit by a table and then gives its four bits to four different digits. It is a toy. Its rounds are few,
and each can be undone, so that whoever knows the tables computes the one nonce of a given digest. What it is good for
is that trying nonces gets nowhere: no two have the same digest, and a nonce that is nearly right gives no hint.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Int64
from torch import Tensor

BASE, BITS = 16, 4  # values of a digit, and bits in one
PRESENT = (12, 5, 6, 11, 9, 0, 10, 13, 3, 14, 15, 8, 4, 7, 1, 2)
"""PRESENT's table (Bogdanov et al. 2007, section 3): where one bit of a digit differs, two or more do afterwards."""

Digits = Int64[Tensor, "prompt digit"]


@dataclass(frozen=True, slots=True)
class ToyHash:
    """A one-to-one map of rows of digits 0 to 15 onto such rows.

    tables: what replaces each digit, one permutation of 0 to 15 a round.
    """

    tables: tuple[tuple[int, ...], ...]

    @classmethod
    def draw(cls, rounds: int, seed: int) -> "ToyHash":
        """PRESENT's table between random masks."""
        generator = torch.Generator().manual_seed(seed)
        masks = torch.randint(BASE, (rounds, 2, 1), generator=generator)
        tables = (torch.tensor(PRESENT)[torch.arange(BASE) ^ before] ^ after for before, after in masks)
        return cls(tuple(tuple(table.tolist()) for table in tables))

    def __call__(self, digits: Digits) -> Digits:
        """The digest of each row. Digits: at least 4 a row, so that the bits of one part."""
        for table in self.tables:
            digits = digits_of(bits_of(torch.tensor(table)[digits])[:, moves(digits.shape[1])])
        return digits

    def inverse(self, digest: Digits) -> Digits:
        """The one row of digits that has each digest."""
        back = torch.tensor(moves(digest.shape[1])).argsort()
        for table in reversed(self.tables):
            digest = torch.tensor(table).argsort()[digits_of(bits_of(digest)[:, back])]
        return digest


def moves(digits: int) -> list[int]:
    """Which bit every bit is made of when the bits of that many digits are transposed.

    Numbered digit by digit, the highest of a digit first: first come the highest bits of all digits, then the next.
    """
    return torch.arange(BITS * digits).reshape(digits, BITS).T.flatten().tolist()


def bits_of(digits: Digits) -> Int64[Tensor, "prompt bit"]:
    """The bits of each row, digit by digit, the highest of a digit first."""
    places = torch.arange(BITS - 1, -1, -1)
    return (digits[..., None] >> places & 1).flatten(1)


def digits_of(bits: Int64[Tensor, "prompt bit"]) -> Digits:
    """The inverse of `bits_of`."""
    return (bits.reshape(len(bits), -1, BITS) << torch.arange(BITS - 1, -1, -1)).sum(2)
