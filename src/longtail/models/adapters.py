"""Low-rank adapters (LoRA) on a frozen network, by the ``peft`` library."""

from __future__ import annotations

from torch import nn

from longtail.errors import InputError

ATTENTION = ("qkv", "q", "k", "v", "proj", "query", "key", "value")
"""Names that timm gives to the linear layers of attention."""


def targets(model: nn.Module) -> list[str]:
    """Return the names of the layers that get an adapter: those of attention, or else all linear and 1x1 ones.

    Args:
        model: of timm, without classifier.

    Example:
        >>> targets(nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 16, 1)))
        ['1']
    """
    layers = dict(model.named_modules())
    linear = [name for name, held in layers.items() if isinstance(held, nn.Linear)]
    attention = [name for name in linear if name.rpartition(".")[2] in ATTENTION and ".attn." in f".{name}"]
    if attention:
        return attention
    return linear + [
        name
        for name, held in layers.items()
        if isinstance(held, nn.Conv2d) and held.kernel_size == (1, 1) and held.groups == 1
    ]


def add_adapters(model: nn.Module, name: str, *, rank: int) -> dict[str, str]:
    """Put a low-rank adapter beside each of the ``targets``, in place; its output is zero before the first step.

    The update of a layer W is ``2 B A`` with A (r, D_in) drawn from torch's global generator and B (D_out, r) zero.

    Args:
        model: of timm, without classifier.
        name: of the model, for messages.
        rank: r.

    Returns:
        The names of the parameters that were renamed, old to new.

    Raises:
        InputError: peft is not installed, or no layer can have an adapter.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError:
        raise InputError("adapters (lora) need the peft library: pip install 'longtail[vision]'") from None
    chosen = targets(model)
    if not chosen:
        raise InputError(f"{name} has no linear layer or 1x1 convolution that could have an adapter (lora)")
    before = {id(held): key for key, held in model.named_parameters()}
    # A pattern that fits whole names alone: peft takes a list for endings, and "1" is the ending of many.
    pattern = "|".join(layer.replace(".", r"\.") for layer in chosen)
    inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=pattern), model)
    return {before[id(held)]: key for key, held in model.named_parameters() if id(held) in before}
