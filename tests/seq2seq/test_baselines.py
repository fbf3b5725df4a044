from hf_monitor.seq2seq.baselines import first_utterance, most_frequent


def test_first_utterance():
    assert first_utterance("\n  \n #Person1#: a b \n#Person2#: c") == "#Person1#: a b"
    assert first_utterance("") == ""


def test_most_frequent():
    assert most_frequent(["a", "b", "c", "b"]) == "b"
    assert most_frequent(["b", "a"]) == "b"
    assert most_frequent([]) == ""
