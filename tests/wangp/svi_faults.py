"""Plants faults in SVI inside WanGP's process (see session.py): `setup` "svi_faults:plant"."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any


def plant(wgp: Any, job: Mapping[str, Any]) -> None:
    """job["faults"]: seed of a task -> [place, call, "before" or "after" its work], each once."""
    from wan2gp_svi.wangp import encoding, hooks, recorder

    faults = {int(seed): tuple(fault) for seed, fault in job["faults"].items()}
    calls: Counter[str] = Counter()
    task: list[int] = [0]

    def failing(place: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            if place == "before_generate" and arguments[2]["window_no"] == 1:
                task[0] = arguments[2]["seed"]
                calls.clear()
            calls[place] += 1
            fault = faults.get(task[0])
            due = fault is not None and fault[:2] == (place, calls[place])
            if due:
                del faults[task[0]]
            if due and fault[2] == "before":
                raise RuntimeError("planted")
            result = real(*arguments, **options)
            if due:
                raise RuntimeError("planted")
            return result

        return call

    for name in hooks.HOOKS.keys() - {"start", "lora"}:
        hooks.HOOKS[name] = failing(name, hooks.HOOKS[name])
    encoding.encode = failing("encode", encoding.encode)
    for name in ("save", "receive", "saved"):
        setattr(recorder.Recording, name, failing(name, getattr(recorder.Recording, name)))
