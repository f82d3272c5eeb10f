"""How a request chooses experts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from switchyard.v1 import inference_pb2 as pb


@dataclass(frozen=True)
class Routing:
    """How one request chooses experts; made by the class methods, or by `parse` from what the command line takes."""

    message: pb.Routing

    @classmethod
    def learned(cls, masked: Sequence[str] = ()) -> Routing:
        """The router decides (what a request without routing gets), but never for the experts named in `masked`."""
        return cls(pb.Routing(learned=pb.Routing.Learned(masked_experts=masked)))

    @classmethod
    def base(cls) -> Routing:
        """No expert at all."""
        return cls(pb.Routing(base_only=pb.Routing.BaseOnly()))

    @classmethod
    def expert(cls, name: str) -> Routing:
        """One expert, with weight 1 in every layer."""
        return cls(pb.Routing(forced_expert=name))

    @classmethod
    def mixture(cls, weights: Mapping[str, float]) -> Routing:
        """Fixed weights by expert name, each >= 0, together <= 1; what is missing stays with the base."""
        return cls(pb.Routing(mixture=pb.Routing.Mixture(weights=dict(weights))))

    @classmethod
    def replay(cls, tokens: Sequence[pb.TokenRoute]) -> Routing:
        """Recorded routes: `Routes.tokens` of a Route call at level "token"."""
        return cls(pb.Routing(replay=pb.Routing.Replay(tokens=tokens)))

    @classmethod
    def parse(cls, text: str) -> Routing:
        """From `learned`, `base`, `expert:NAME`, `mixture:NAME:WEIGHT+NAME:WEIGHT` or `mask:NAME+NAME`; `=` may stand for the first colon.

        Names are joined by `+` because lm-eval splits its model arguments at commas; a comma is understood, too.
        """
        kind, _, rest = text.replace("=", ":", 1).partition(":")
        names = [part for part in rest.replace(",", "+").split("+") if part]
        if kind in ("learned", "base") and not rest:
            return cls.learned() if kind == "learned" else cls.base()
        if kind == "expert" and len(names) == 1:
            return cls.expert(names[0])
        if kind == "mask" and names:
            return cls.learned(masked=names)
        if kind == "mixture" and names:
            return cls.mixture(dict(_weight(part) for part in names))
        raise ValueError(f"routing {text!r}: expected learned, base, expert:NAME, mixture:NAME:WEIGHT+NAME:WEIGHT or mask:NAME+NAME")


def _weight(part: str) -> tuple[str, float]:
    name, _, weight = part.rpartition(":")
    try:
        value = float(weight)
    except ValueError:
        value = -1.0
    if not name or not value >= 0:
        raise ValueError(f"routing: {part!r} is not NAME:WEIGHT with a weight >= 0")
    return name, value
