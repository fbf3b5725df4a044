"""What must know the model and the data: reading, tokenizing, building seq2seq models, the scale of their loss."""

from hf_monitor._lazy import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "Preprocessor": "hf_monitor.seq2seq.preprocessing",
        "build_model": "hf_monitor.seq2seq.build",
        "ensure_loss_scaling": "hf_monitor.seq2seq.loss_scaling",
        "find_columns": "hf_monitor.seq2seq.columns",
        "predict_texts": "hf_monitor.seq2seq.predict",
        "read_rows": "hf_monitor.seq2seq.data_files",
        "set_languages": "hf_monitor.seq2seq.languages",
    },
)
