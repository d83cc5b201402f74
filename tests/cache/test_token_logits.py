"""Tokens packed end to end are those that went in."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

from tutelage.cache.token_logits import TokenLogits, pack_samples, topk_log_probabilities, write_shard
from tutelage.errors import CacheError
from tutelage.losses.sequence.top_k import TopK
from tutelage.losses.sequence.top_k_ranking import TopKHinge, TopKLogistic

LENGTHS = (5, 1, 0, 12, 3, 7, 7, 2)


def texts(vocabulary: int, k: int = 4):
    """Logits of each sample, and their top tokens."""
    logits = [3 * torch.randn(length, vocabulary) for length in LENGTHS]
    return logits, [topk_log_probabilities(z, k) for z in logits]


def stored(folder, samples, vocabulary: int, each: int = 3) -> TokenLogits:
    lots = [samples[i : i + each] for i in range(0, len(samples), each)]
    return TokenLogits([write_shard(folder, number, pack_samples(lot, vocabulary)) for number, lot in enumerate(lots)])


@pytest.mark.parametrize(
    ("vocabulary", "dtype"),
    [(256, torch.uint8), (257, torch.uint16), (50_257, torch.uint16), (65_536, torch.uint16), (65_537, torch.int32)],
)
def test_ids_take_the_fewest_bytes_and_come_back(tmp_path, vocabulary, dtype):
    _, samples = texts(vocabulary)
    samples[0][0][0, 0] = vocabulary - 1
    parts = pack_samples(samples, vocabulary)
    assert {name: part.dtype for name, part in parts.items()} == {
        "ids": dtype,
        "values": torch.float16,
        "offsets": torch.int64,
    }
    tokens = stored(tmp_path, samples, vocabulary)
    for number, (ids, values) in enumerate(samples):
        assert torch.equal(tokens.read_sample(number)[0], ids)
        assert torch.equal(tokens.read_sample(number)[1], values.half().float())


@pytest.mark.parametrize("each", [1, 3, 8])
def test_reading_is_plain_slicing_with_padding(tmp_path, each):
    _, samples = texts(100)
    tokens = stored(tmp_path, samples, 100, each)
    assert len(tokens) == len(LENGTHS)
    for numbers in ([0], [2], [7, 0, 3, 3, 2], range(8), torch.tensor([4, 1])):
        ids, values, mask = tokens.read_samples(numbers)
        longest = max(LENGTHS[n] for n in numbers)
        assert ids.shape == values.shape == (len(numbers), longest, 4)
        assert mask.shape == (len(numbers), longest)
        assert mask.sum(1).tolist() == [LENGTHS[n] for n in numbers]
        for row, number in enumerate(numbers):
            length = LENGTHS[number]
            assert torch.equal(ids[row, :length], samples[number][0])
            assert torch.equal(values[row, :length], samples[number][1].half().float())
            assert (ids[row, length:] == 0).all()
            assert (values[row, length:] == -torch.inf).all()


def test_the_files_are_read_by_safetensors_alone(tmp_path):
    _, samples = texts(1000)
    stored(tmp_path, samples, 1000)
    shard = load_file(tmp_path / "tokens-00001.safetensors")
    assert shard["offsets"].tolist() == [0, 12, 15, 22]
    assert torch.equal(shard["ids"][12:15].long(), samples[4][0])


@pytest.mark.parametrize(
    "loss",
    [
        TopK(top=4),
        TopK("jsd", top=4),
        TopK("tvd", top=4),
        TopK(top=4, missing="symmetric_uniform"),
        TopK("jsd", top=4, missing="symmetric_uniform", temperature=2.0),
        TopK("tvd", top=4, missing="symmetric_uniform"),
        TopKHinge(top=4),
        TopKHinge(top=4, margin=None),
        TopKLogistic(top=4),
    ],
    ids=str,
)
def test_losses_of_what_was_packed_are_those_of_the_full_logits(tmp_path, loss):
    logits, samples = texts(50)
    numbers = [3, 0, 5, 2, 7]
    ids, values, mask = stored(tmp_path, samples, 50).read_samples(numbers)
    teacher = torch.nn.utils.rnn.pad_sequence([logits[n] for n in numbers], True)
    student = torch.randn_like(teacher)
    packed = loss(student, None, teacher_topk_ids=ids, teacher_topk_values=values, mask=mask)
    full = loss(student, teacher, mask=mask)
    assert packed.isfinite().all()
    assert torch.allclose(packed, full, atol=5e-3, rtol=5e-3)
    rounded = loss(
        student,
        None,
        teacher_topk_ids=ids,
        teacher_topk_values=F.log_softmax(teacher, -1).topk(4).values.half().float(),
        mask=mask,
    )
    assert torch.equal(packed, rounded)


def test_the_rest_of_the_mass_is_kept_to_fp16_precision(tmp_path):
    logits, samples = texts(50)
    tokens = stored(tmp_path, samples, 50)
    for number, z in enumerate(logits):
        rest = z.softmax(-1).sort(-1).values[:, :-4].sum(-1)
        assert torch.allclose(1 - tokens.read_sample(number)[1].exp().sum(-1), rest, atol=2e-3)


def test_what_has_no_probability_stays_so(tmp_path):
    sample = torch.tensor([[2, 0, 1]]), torch.tensor([[0.0, -torch.inf, -torch.inf]])
    tokens = stored(tmp_path, [sample], 3)
    assert tokens.read_sample(0)[1].tolist() == [[0.0, -torch.inf, -torch.inf]]


@pytest.mark.parametrize(
    ("ids", "values", "message"),
    [
        ([[1, 2]], [[-1.0]], "with one K"),
        ([[1], [2]], [[-1.0]], "with one K"),
        ([[9]], [[-1.0]], "expected 0 to 8, as the vocabulary has"),
        ([[-1]], [[-1.0]], "expected 0 to 8, as the vocabulary has"),
        ([[1]], [[2.0]], "take log_softmax first"),
        ([[1]], [[torch.nan]], "take log_softmax first"),
        ([[1]], [[-1e5]], "from −65504 to 0"),
    ],
)
def test_what_are_no_top_tokens_is_refused(ids, values, message):
    with pytest.raises(CacheError, match=message):
        pack_samples([(torch.tensor([[0]]), torch.tensor([[-1.0]])), (torch.tensor(ids), torch.tensor(values))], 9)


def test_shards_that_are_torn_or_dont_fit_are_refused_by_name(tmp_path):
    _, samples = texts(100)
    tokens = stored(tmp_path, samples, 100)
    for number in (-1, 8):
        with pytest.raises(CacheError, match=f"sample {number}: the shards hold samples 0 to 7"):
            tokens.read_samples([number])
    path = tmp_path / "tokens-00000.safetensors"
    whole = {name: part.clone() for name, part in load_file(path).items()}
    content = path.read_bytes()
    for harm in (content[:-1], content[:5], b""):
        path.write_bytes(harm)
        with pytest.raises(CacheError, match=r"tokens-00000.*can't be read"):
            TokenLogits([path])
    path.unlink()
    with pytest.raises(CacheError, match=r"tokens-00000.*can't be read"):
        TokenLogits([path])
    for part, harm in (
        ("offsets", torch.tensor([0, 6, 5, 6])),
        ("offsets", torch.tensor([0, 5])),
        ("offsets", torch.tensor(6)),
        ("values", torch.zeros(3, 4)),
        ("values", torch.zeros(6, 3)),
    ):
        save_file(whole | {part: harm}, path)
        with pytest.raises(CacheError, match=r"tokens-00000.*don't fit together"):
            TokenLogits([path])
