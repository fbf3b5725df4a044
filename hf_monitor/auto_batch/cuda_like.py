"""What CUDA would hold, where the step runs on the CPU's fake tensors (a torch without CUDA aborts on fake CUDA ones).

For T5-base and BART-base in bf16 and fp32, at sizes that fill 28 to 139 GiB of an H200, the result was 0.2 % to 7.4 %
above what the allocator there reserved, for a single sample 3 % to 10 % below (docs/auto_batch.md).

Where the two differ in what lives through a step:

- dropout keeps a mask of bytes, the CPU's keeps one of the input's own type;
- attention with dropout, or with a mask that learns (T5's position bias), is one kernel, which keeps no scores
  (docs.pytorch.org, ``scaled_dot_product_attention``: memory-efficient attention); the CPU's keeps them;
- autocast runs norms, softmax, losses, powers and sums in fp32 (docs.pytorch.org, "CUDA Ops that can autocast to
  float32");
- optimizers work on all weights at once (``foreach``) by default, with temporaries of that size.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.overrides import TorchFunctionMode

__all__ = ["CUBLAS_WORKSPACE_BYTES", "RESERVED_PER_ALLOCATED", "CudaLike", "reserved_bytes", "use_foreach"]

CUBLAS_WORKSPACE_BYTES = 20 * 2**20
"""cuBLAS' workspace: 8519680 bytes in a segment of 20 MiB (discuss.pytorch.org/t/178671; 32 MiB on Hopper)."""

RESERVED_PER_ALLOCATED = 1.05
"""What the caching allocator holds for what tensors take: a guess, since it depends on the order of sizes."""

_IN_FP32 = frozenset(
    {
        *("__pow__", "__rpow__", "pow", "exp", "expm1", "log", "log10", "log1p"),
        *("log2", "reciprocal", "rsqrt", "softplus", "layer_norm", "group_norm", "rms_norm", "norm"),
        *("softmax", "log_softmax", "sum", "prod", "cumsum", "logsumexp", "cross_entropy", "nll_loss"),
        *("kl_div", "l1_loss", "mse_loss", "smooth_l1_loss", "cosine_similarity", "binary_cross_entropy_with_logits"),
    }
)
_HALF = (torch.bfloat16, torch.float16)


class CudaLike(TorchFunctionMode):
    """A mode in which functions leave behind what CUDA's leave behind; for fake tensors only, no value is right."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if func is torch.Tensor.backward:  # what checkpointing runs again in it is to meet this mode again
            with self:
                return _backward(args[0])
        if name == "dropout":
            return _dropout(func, *args, **kwargs)
        if name == "scaled_dot_product_attention":
            return _attention(*args, **kwargs)
        if name in _IN_FP32 and torch.is_autocast_enabled("cpu") and kwargs.get("dtype") is None:
            args = [_float(value) for value in args]
            kwargs = {key: _float(value) for key, value in kwargs.items()}
        return func(*args, **kwargs)


def _backward(loss: torch.Tensor) -> None:
    """Do what ``loss.backward()`` does, without asking the modes again, which would leave this one out."""
    engine: Any = torch.autograd.Variable._execution_engine
    ones = (torch.ones_like(loss),)
    engine.run_backward((loss,), ones, False, False, (), allow_unreachable=True, accumulate_grad=True)


def _float(value: Any) -> Any:
    return value.float() if isinstance(value, torch.Tensor) and value.dtype in _HALF else value


def _dropout(func: Any, input: Any, p: float = 0.5, training: bool = True, inplace: bool = False) -> Any:
    if not training or not 0 < p < 1:
        return func(input, p, training, inplace)
    return torch.native_dropout(input, p, True)[0]


def _attention(
    query: Any,
    key: Any,
    value: Any,
    attn_mask: Any = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Any:
    if torch.is_autocast_enabled("cpu"):
        kind = torch.get_autocast_dtype("cpu")
        query, key, value = query.to(kind), key.to(kind), value.to(kind)
    if attn_mask is not None:
        # A mask of yes and no becomes one to add, in every layer anew.
        attn_mask = query.new_empty(attn_mask.shape) if attn_mask.dtype is torch.bool else attn_mask.to(query.dtype)
    apply: Any = _FusedAttention.apply
    return apply(query, key, value, attn_mask)


class _FusedAttention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, query: Any, key: Any, value: Any, mask: Any) -> Any:
        out = query.new_empty((*query.shape[:-1], value.shape[-1]))
        log_sums = torch.empty(query.shape[:-1], dtype=torch.float32, device=query.device)
        ctx.save_for_backward(query, key, value, mask, out, log_sums)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        query, key, value, mask, _, log_sums = ctx.saved_tensors
        delta = torch.empty_like(log_sums)
        grads = [torch.empty_like(one) for one in (query, key, value)]
        grad_mask = None
        if ctx.needs_input_grad[3]:
            whole = mask.new_empty((*query.shape[:-1], key.shape[-2]))
            grad_mask = whole.sum_to_size(mask.shape)
        del delta
        return (*grads, grad_mask)


def use_foreach(optimizer: torch.optim.Optimizer) -> None:
    """Let an optimizer do what it does by default where weights are on CUDA."""
    for group in optimizer.param_groups:
        if "foreach" in group and group["foreach"] is None and not group.get("fused"):
            group["foreach"] = True


def reserved_bytes(allocated: int) -> int:
    """Give what the allocator will hold for a peak of live tensors; the CUDA context is not in it."""
    return round(allocated * RESERVED_PER_ALLOCATED) + CUBLAS_WORKSPACE_BYTES
