"""All checks before a training, one after the other, on what was handed over."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_monitor.errors import HfMonitorError
from hf_monitor.preflight.checklist import Check, failed, skipped, warning
from hf_monitor.preflight.data import Part, check_part, read_part

if TYPE_CHECKING:
    from hf_monitor.gpu.report import GpuReport
    from hf_monitor.preflight.lengths import Spread
    from hf_monitor.preflight.schedule import Schedule

__all__ = ["Look"]


class Look:
    """What is handed over, and the checks so far. Each stands for itself: none keeps the others from being done."""

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        args: Any,
        prefix: str,
        source_limit: int | None,
        target_limit: int | None,
        collator: Any,
        seed: int,
    ) -> None:
        self.model, self.tokenizer, self.args, self.collator, self.seed = model, tokenizer, args, collator, seed
        self.prefix, self.limits = prefix, {"inputs": source_limit, "targets": target_limit}
        self.checks: list[Check] = []
        self.train: Part | None = None
        self.evaluations: list[Part] = []
        self.unread: list[str] = []
        self.spreads: dict[str, Spread] = {}
        self.schedule: Schedule | None = None

    def add(self, *checks: Check | None) -> None:
        """Append checks; None is none."""
        self.checks += [check for check in checks if check is not None]

    def attempt(self, name: str, check: Callable[[], Check | Sequence[Check] | None]) -> None:
        """Do a check; where it cannot be done, that is what is said."""
        try:
            found = check()
        except HfMonitorError as error:
            self.add(failed(name, str(error)))
        except Exception as error:  # noqa: BLE001 - what others made (a tokenizer, a data set) may raise anything
            self.add(warning(name, f"this could not be checked: {type(error).__name__}: {error}"))
        else:
            self.add(*(found if isinstance(found, Sequence) else [found]))

    def gpu(self, gpu: GpuReport | bool) -> Check:
        """Look at the GPU, unless a report is handed over or nobody wants to know."""
        from hf_monitor.preflight.machine import check_gpu

        if getattr(self.args, "use_cpu", False):
            return check_gpu(None, self.args)
        if gpu is False:
            if getattr(self.args, "fp16", False):
                advice = "Leave --no_gpu out to have it looked at; on the CPU leave --fp16 out."
                return warning("GPU", "fp16 is asked for, which needs a GPU; it was not to be looked at.", advice)
            return skipped("GPU", "it was not to be looked at.")
        if gpu is True:
            from hf_monitor.gpu.compatibility import check_gpu_compatibility

            gpu = check_gpu_compatibility()
        return check_gpu(gpu, self.args)

    def folder(self) -> None:
        """Look at the output folder and at W&B."""
        from hf_monitor.preflight.machine import check_folder, check_left_there
        from hf_monitor.preflight.wandb_ready import check_trackers, check_wandb

        folder = Path(self.args.output_dir)
        self.attempt("output folder", lambda: check_folder(folder))
        self.attempt("earlier training", lambda: check_left_there(folder, self.args))
        self.disk_place = len(self.checks)  # its check needs the number of steps, which comes later
        self.attempt("report_to", lambda: check_trackers(self.args.report_to))
        self.attempt("W&B", lambda: check_wandb(self.args.report_to))

    def data(self, train: Any, evaluation: Any, source_column: str | None, target_column: Any) -> None:
        """Read the data, and compare training and evaluation."""
        sets = [("training data", train)]
        if isinstance(evaluation, Mapping):  # as the Trainer takes several
            sets += [(f"{name} data", data) for name, data in evaluation.items()]
        else:
            sets.append(("evaluation data", evaluation))
        for number, (name, data) in enumerate(sets):
            if data is None:
                self.add(skipped(name, "none given."))
                continue
            try:
                part = read_part(name, data, source_column, target_column, targets_needed=number == 0)
            except HfMonitorError as error:
                self.add(failed(name, str(error)))
                self.unread.append(name)
                continue
            except TypeError as error:
                self.add(skipped(name, f"{error}."))
                continue
            self.attempt(name, lambda part=part: check_part(part))  # type: ignore[misc]  # a lambda's default
            if number == 0:
                self.train = part
            else:
                self.evaluations.append(part)
        if self.train is None or not self.evaluations:
            unread = f"the {' and the '.join(self.unread)} could not be read, see above."
            self.add(skipped("overlap", unread if self.unread else "it needs training data and evaluation data."))
            return
        from hf_monitor.preflight.overlapping import check_overlap

        known = self.train
        for part in self.evaluations:
            name = "overlap" if len(self.evaluations) == 1 else f"overlap: {part.name}"

            def compare(part: Part = part, name: str = name) -> Check:
                pad_id = None if known.tokenized is None else getattr(self.tokenizer, "pad_token_id", None)
                return check_overlap(known, part, name, pad_id)

            self.attempt(name, compare)

    def texts(self) -> None:
        """Hold the texts against the tokenizer and the limits."""
        from hf_monitor.preflight.lengths import check_generation, check_lengths, generation_length, measure
        from hf_monitor.preflight.lengths import target_positions as most_written
        from hf_monitor.preflight.tokenizing import check_tokenizer
        from hf_monitor.seq2seq.preprocessing import max_positions

        part = self.train or next(iter(self.evaluations), None)
        if part is None or self.tokenizer is None:
            missing = "no tokenizer given." if part is not None else "no data given."
            if part is None and self.unread:
                missing = "no data could be read, see above."
            self.add(skipped("tokenizer", missing), skipped("lengths", missing))
            return
        self.attempt("tokenizer", lambda: check_tokenizer(self.tokenizer, part, self.seed))
        config = getattr(self.model, "config", None)
        positions = {
            "inputs": None if config is None else max_positions(config),
            "targets": None if config is None else most_written(config),
        }

        def lengths() -> list[Check]:
            self.spreads = measure(self.tokenizer, part, self.prefix, self.seed)
            return check_lengths(self.spreads, self.limits, positions)

        self.attempt("lengths", lengths)
        if self.args is None or self.model is None or not getattr(self.args, "predict_with_generate", False):
            self.add(skipped("generation length", "nothing is generated: --predict_with_generate is not set."))
            return
        most, who = generation_length(self.args, self.model)
        targets = self.spreads.get("targets")
        self.attempt("generation length", lambda: check_generation(most, who, targets, positions["targets"]))

    def configs(self) -> Check:
        """Compare model and tokenizer."""
        from hf_monitor.preflight.configs import check_configs

        if self.model is None or self.tokenizer is None:
            missing = "model" if self.model is None else "tokenizer"
            return skipped("model and tokenizer", f"no {missing} given.")
        n_embeddings = int(self.model.get_input_embeddings().weight.shape[0])
        generation = getattr(self.model, "generation_config", None)
        return check_configs(self.model.config, generation, self.tokenizer, n_embeddings)

    def steps(self, compute_metrics: Any) -> None:
        """Count the steps, and what is saved at them."""
        from hf_monitor.preflight.disk import check_disk, check_shared_memory
        from hf_monitor.preflight.schedule import check_best_metric, check_schedule, check_steps, schedule_of

        args = self.args
        if self.train is None:
            unread = "training data" in self.unread
            self.add(
                skipped(
                    "steps", "the training data could not be read, see above." if unread else "no training data given."
                )
            )
        else:
            n = self.train.n
            found = self.schedule = schedule_of(n, args)
            self.attempt("steps", lambda: check_steps(n, found, args))
            self.attempt("schedule", lambda: check_schedule(found, args))
        keys = getattr(compute_metrics, "keys", None)
        named = tuple(keys) if isinstance(keys, (tuple, list)) else None
        self.attempt("best checkpoint", lambda: check_best_metric(args, named, compute_metrics is not None))
        later, self.checks = self.checks[self.disk_place :], self.checks[: self.disk_place]
        if self.model is None:
            self.add(skipped("disk", "no model given."))
        else:
            self.attempt("disk", lambda: check_disk(Path(args.output_dir), self.model, args, self.schedule))
        self.attempt("shared memory", lambda: check_shared_memory(args, *self.longest()))
        self.checks += later

    def longest(self) -> tuple[int, int]:
        """Give the tokens of the longest input and target, as they will be cut."""
        found = []
        for side in ("inputs", "targets"):
            limit = self.limits[side] or 1024
            # The longest of a sample is not the longest of all.
            whole = side in self.spreads and (self.train is None or len(self.spreads[side].lengths) == self.train.n)
            found.append(min(limit, self.spreads[side].lengths[-1]) if whole else limit)
        return found[0], found[1]

    def memory(self, probe: bool, plan: Any) -> Check:
        """Say whether the batch fits, as far as that is known."""
        from hf_monitor.preflight.memory import check_memory, check_plan

        if plan is not None:
            return check_plan(plan)
        if self.model is None:
            return skipped("memory", "no model given.")
        if not probe and self.args.device.type == "cuda":
            batch = self.args.per_device_train_batch_size
            return skipped("memory", f"batch {batch} as set; not probed: the weights were not loaded.")
        tokenized = None if self.train is None else self.train.tokenized
        source, target = self.longest()
        return check_memory(
            self.model,
            self.args,
            tokenized=tokenized,
            collator=self.collator,
            source_length=source,
            target_length=target,
        )
