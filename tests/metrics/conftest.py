"""A tokenizer trained on the spot: byte level, so that every text survives it and characters can be cut in two."""

import pytest

CORPUS = [
    "#Person1# tells #Person2# about the weather in London.",
    "They agree to meet at the station. He will bring the tickets.",
    "철수는 오늘 학교에 갔다. 영희는 집에서 책을 읽었다.",
    "#Person1#은 #Person2#에게 회의 시간을 알려 준다.",
]


@pytest.fixture(scope="session")
def tokenizer():
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<pad>", "</s>", "<unk>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator(CORPUS, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=core, pad_token="<pad>", eos_token="</s>", unk_token="<unk>")
