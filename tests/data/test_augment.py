"""Addressed randomness: its test vector, and that the address is all that counts."""

import torch

from tutelage.data.augment import crop_flip, random_bits, random_crop_box, to_integers, to_uniform

GOLD, MASK = 0x9E3779B97F4A7C15, (1 << 64) - 1


def splitmix(x: int) -> int:
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK
    return x ^ (x >> 31)


def test_the_vector_on_which_caches_stand():
    assert to_integers(random_bits(7, torch.arange(8), 3, 1)[:, 0], 9).tolist() == [4, 0, 7, 8, 5, 1, 7, 1]


def test_bits_are_splitmix64_in_whole_numbers():
    seed, view = 2**63 + 5, 11
    got = random_bits(seed, torch.tensor([0, 3, 2**40]), view, 2)
    for row, number in enumerate([0, 3, 2**40]):
        k = splitmix((seed + GOLD) & MASK)
        k = splitmix(((k ^ number) + GOLD) & MASK)
        k = splitmix(((k ^ view) + GOLD) & MASK)
        want = [splitmix((k + GOLD * draw) & MASK) for draw in (1, 2)]
        assert [v % 2**64 for v in got[row].tolist()] == want


def test_ranges():
    b = random_bits(0, torch.arange(5000), 0, 1)[:, 0]
    assert set(to_integers(b, 9).tolist()) == set(range(9))
    assert to_uniform(b).min() >= 0
    assert to_uniform(b).max() < 1
    assert abs(to_uniform(b).mean() - 0.5) < 0.02


def test_int32_numbers_count_as_int64():
    assert random_bits(1, torch.arange(4, dtype=torch.int32), 0, 1).equal(random_bits(1, torch.arange(4), 0, 1))


def test_crop_flip_is_pad_crop_flip_of_each_sample():
    x = torch.randint(1, 255, (6, 3, 10, 12), dtype=torch.uint8)
    index = torch.tensor([5, 9, 0, 77, 3, 2])
    got = crop_flip(x, index, 4, 2, pad=3, fill=9)
    r = random_bits(4, index, 2, 3)
    for i in range(6):
        top, left = int(to_integers(r[i, 0], 7)), int(to_integers(r[i, 1], 7))
        want = torch.nn.functional.pad(x[i], (3,) * 4, value=9)[:, top : top + 10, left : left + 12]
        assert got[i].equal(want.flip(-1) if r[i, 2] < 0 else want)


def test_crop_flip_does_not_know_its_batch():
    x, index = torch.rand(8, 1, 9, 9), torch.arange(8)
    whole = crop_flip(x, index, 1, 0, 2)
    order = torch.tensor([6, 1, 3])
    assert crop_flip(x[order], index[order], 1, 0, 2).equal(whole[order])


def test_views_and_seeds_differ_and_shift_never_flips():
    x = torch.arange(16.0).expand(32, 1, 4, 16).contiguous()
    index = torch.arange(32)
    assert not crop_flip(x, index, 0, 0).equal(crop_flip(x, index, 0, 1))
    assert not crop_flip(x, index, 0, 0).equal(crop_flip(x, index, 1, 0))
    rising = crop_flip(x, index, 0, 0, pad=0, flip=False)
    assert rising.equal(x)
    flipped = crop_flip(x, index, 0, 0, pad=0)[:, 0, 0, 0] == 15
    again = crop_flip(x, index, 0, 1, pad=0)[:, 0, 0, 0] == 15
    assert 0 < flipped.sum() < 32
    assert not flipped.equal(again)


def test_crop_box_lies_in_the_photo_and_keeps_its_limits():
    areas = []
    for number in range(300):
        top, left, height, width, _ = random_crop_box(0, number, 0, 80, 100)
        assert 0 <= top <= 80 - height
        assert 0 <= left <= 100 - width
        assert 0.7 < width / height < 1.43
        areas.append(height * width / 8000)
    assert min(areas) < 0.2
    assert max(areas) > 0.8
    assert {random_crop_box(0, n, 0, 80, 100)[4] for n in range(20)} == {True, False}


def test_crop_box_of_a_strip_is_its_middle():
    assert random_crop_box(0, 0, 0, 1, 1000)[:4] == (0, 499, 1, 1)
