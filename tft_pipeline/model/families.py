"""Which network a configuration names. Not here: the networks themselves, their interface (`batch.Family`)."""

from typing import TYPE_CHECKING, TypeAlias

from tft_pipeline.domain.sections import NetworkSection
from tft_pipeline.model.heads import LossMode
from tft_pipeline.model.lstm import LstmNetwork
from tft_pipeline.model.network import Tft

if TYPE_CHECKING:
    from tft_pipeline.model.reference import ReferenceTft

Network: TypeAlias = "Tft | LstmNetwork | ReferenceTft"
"""A network of any family: a torch module that is a `batch.Family`."""


def build_network(
    n_variables: int, section: NetworkSection, loss_mode: LossMode, *, n_symbols: int, lookback: int
) -> Network:
    """A new network of `section.family`, its weights drawn from torch's global random state.

    Args:
        n_symbols: symbols the network is trained on; read where `section.static_symbol` is set.
        lookback: T, bars of a window; only pytorch_forecasting's network has to know it beforehand.
    Raises:
        ValueError: the family cannot honour a key of the section.
    """
    if section.family == "tft":
        return Tft(n_variables, section, loss_mode, n_symbols=n_symbols)
    _refuse_inputs_of_the_tft(section)
    if section.family == "lstm":
        return LstmNetwork(n_variables, section, loss_mode)
    # pytorch-forecasting takes seconds to import; a run that does not ask for it does not pay.
    from tft_pipeline.model.reference import ReferenceTft

    return ReferenceTft(n_variables, section, loss_mode, lookback=lookback)


def _refuse_inputs_of_the_tft(section: NetworkSection) -> None:
    for key, value, off in (
        ("static_symbol", section.static_symbol, "false"),
        ("n_context", section.n_context, "0"),
    ):
        if value:
            raise ValueError(
                f"network.{key} is {value} and network.family is {section.family}, which has no such input: it would be left "
                f"out unnoticed; set network.{key} to {off} or network.family to tft"
            )
